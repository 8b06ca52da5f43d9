"""Changes of the linear head in fine-tuning: norms, parts of the logit gap, and directions of weight updates.

The head is z_c = w_c . f + b_c with weight (C, D) and bias (C,). Letters: N samples, C classes, D feature width.
"""

from collections.abc import Sequence

import torch
from torch.nn.functional import normalize

from ...core.class_split import ClassSplit
from ...core.errors import UserError
from .accuracy import by_group


def check_features(features: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> None:
    """Check (N, D) finite features and (N,) int64 labels in 0..C-1. Raises UserError. Source: ours."""
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise UserError(
            f"features and labels have shapes {tuple(features.shape)} and {tuple(labels.shape)}; expected (N, D) and "
            "(N,)"
        )
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < split.num_classes:
        raise UserError(f"labels span {int(labels.min())}..{int(labels.max())}; expected 0..{split.num_classes - 1}")
    bad = ~features.isfinite().all(1)
    if bad.any():
        raise UserError(
            f"features hold NaN or infinity, first in row {int(bad.nonzero()[0])}; check the model that made them"
        )


def _check_head(weight: torch.Tensor, bias: torch.Tensor, split: ClassSplit) -> None:
    if weight.ndim != 2 or len(weight) != split.num_classes or bias.shape != weight.shape[:1]:
        shapes = f"{tuple(weight.shape)} and {tuple(bias.shape)}"
        raise UserError(
            f"weight and bias of the head have shapes {shapes}; expected ({split.num_classes}, D) and "
            f"({split.num_classes},)"
        )


def _check_pair(before: torch.Tensor, after: torch.Tensor) -> None:
    if before.ndim != 2 or before.shape != after.shape:
        shapes = f"{tuple(before.shape)} and {tuple(after.shape)}"
        raise UserError(f"the head weights before and after have shapes {shapes}; expected one (C, D) for both")


def head_norms(weight: torch.Tensor, bias: torch.Tensor, split: ClassSplit) -> dict[str, float]:
    """Mean ||w_c|| and mean b_c over the seen and over the absent classes.

    weight : (C, D); bias : (C,). Returns `weight_norm_s weight_norm_u bias_s bias_u`. Raises UserError for shapes that
    do not fit. Source: the weight norms, paper's weight-norm figure; the biases, ours.
    """
    _check_head(weight, bias, split)
    values = {"weight_norm": weight.double().norm(dim=1), "bias": bias.double()}
    return by_group(values, split.seen_mask.to(weight.device))


def feature_norms(features: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> dict[str, float]:
    """Mean ||f|| over the samples of seen and of absent classes. *Oracle*: it groups by absent-class labels.

    features : (N, D); labels : (N,) int64. Returns `feature_norm_s feature_norm_u`, NaN for a group without samples.
    Raises UserError as `check_features`. Source: ours.
    """
    check_features(features, labels, split)
    return by_group({"feature_norm": features.double().norm(dim=1)}, split.is_seen(labels))


def logit_gap(weight: torch.Tensor, bias: torch.Tensor, features: torch.Tensor, split: ClassSplit) -> dict[str, float]:
    """The mean over samples of (mean seen logit - mean absent logit), as a sum of a norm, an angle and a bias part.

    weight : (C, D); bias : (C,); features : (N, D) of the samples. Returns `gap norm_part angle_part bias_part` in
    logits, NaN without samples. Raises UserError for shapes that do not fit. Source: ours.

    With n_c = ||w_c|| and a_c = mean over samples of ||f|| cos(w_c, f), the mean logit is n_c a_c + b_c. Without the
    bias, a seen class s and an absent class u differ by
    n_s a_s - n_u a_u = (n_s - n_u)(a_s + a_u)/2 + (a_s - a_u)(n_s + n_u)/2, the Shapley values of norm and angle. The
    norm and angle parts are the means of these two over all pairs (s, u); the bias part is the difference of the mean
    biases. The three parts sum to the gap, and swapping S and U flips their signs. Equal norms give a norm part of 0,
    and equal a_c an angle part of 0. A vector added to every w_c changes no prediction, but it changes how the gap
    divides into norm and angle.
    """
    _check_head(weight, bias, split)
    if features.ndim != 2 or features.shape[1] != weight.shape[1]:
        raise UserError(
            f"features have shape {tuple(features.shape)}; expected (N, {weight.shape[1]}), the width of the head"
        )
    weight, bias, feature = weight.double(), bias.double(), features.double().mean(0)
    seen = split.seen_mask.to(weight.device)
    norm, along, logit = weight.norm(dim=1), normalize(weight, dim=1) @ feature, weight @ feature
    n_s, n_u = norm[seen].mean(), norm[~seen].mean()
    a_s, a_u = along[seen].mean(), along[~seen].mean()
    z_s, z_u = logit[seen].mean(), logit[~seen].mean()
    b_s, b_u = bias[seen].mean(), bias[~seen].mean()
    both, crossed = z_s - z_u, n_s * a_u - n_u * a_s
    parts = {
        "gap": both + b_s - b_u,
        "norm_part": (both + crossed) / 2,
        "angle_part": (both - crossed) / 2,
        "bias_part": b_s - b_u,
    }
    return {name: value.item() for name, value in parts.items()}


def update_similarity(weight_before: torch.Tensor, weight_after: torch.Tensor) -> torch.Tensor:
    """The cosine between the updates w_c(after) - w_c(before) of all pairs of classes.

    Both weights (C, D). Returns (C, C) float64; NaN in the row and column of a class whose weights did not move. Raises
    UserError for different shapes. Source: paper, similarity of the classifier updates.
    """
    _check_pair(weight_before, weight_after)
    update = weight_after.double() - weight_before.double()
    unit = update / update.norm(dim=1, keepdim=True)
    return unit @ unit.T


def block_means(matrix: torch.Tensor, split: ClassSplit) -> dict[str, float]:
    """Means of a (C, C) matrix over seen pairs, absent pairs, and seen rows with absent columns, without the diagonal.

    Returns `ss uu su`; NaN for a group of one class, which has no pair. Raises UserError for another shape. Source:
    ours.
    """
    if tuple(matrix.shape) != (split.num_classes,) * 2:
        raise UserError(
            f"the matrix has shape {tuple(matrix.shape)}; expected ({split.num_classes}, {split.num_classes}), one "
            "row for each class"
        )
    seen = split.seen_mask.to(matrix.device)
    pair = ~torch.eye(len(seen), dtype=torch.bool, device=matrix.device)
    blocks = {"ss": (seen, seen), "uu": (~seen, ~seen), "su": (seen, ~seen)}
    return {name: matrix[pair & a[:, None] & b].double().mean().item() for name, (a, b) in blocks.items()}


def relation_change(
    weight_before: torch.Tensor, weight_after: torch.Tensor, classes: Sequence[int]
) -> dict[str, float]:
    """The change of the differences w_c - w_c' between the given classes in fine-tuning.

    Both weights (C, D); classes : for example `split.absent`. Returns means over all pairs: `relation_change`, the
    length of the change of w_c - w_c' over its length before (0: unchanged), and `relation_cosine`, the cosine of w_c -
    w_c' before and after (1: unchanged); NaN for fewer than two classes. Raises UserError for different shapes. Source:
    ours.
    """
    _check_pair(weight_before, weight_after)
    before = weight_before[list(classes)].double()
    after = weight_after[list(classes)].double()
    a, b, change = torch.pdist(before), torch.pdist(after), torch.pdist(after - before)
    cosine = (a**2 + b**2 - change**2) / (2 * a * b)  # law of cosines: the three lengths make a triangle
    return {"relation_change": (change / a).mean().item(), "relation_cosine": cosine.mean().item()}
