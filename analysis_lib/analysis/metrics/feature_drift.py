"""Drift of features and logits in fine-tuning, and the separation of seen from absent classes.

Everything here is *oracle*: it uses labelled data of the absent classes, for analysis and not for deployment.
Letters: N samples, C classes, D feature width; S the seen classes, U the absent ones.
"""

import pandas as pd
import torch

from ...core.class_split import ClassSplit
from ...core.errors import UserError
from ..chunks import by_rows, chunks
from .accuracy import by_group, check_scores, max_over
from .head_weights import check_features
from .ncm import class_means, unit_rows


def displacement(
    before: torch.Tensor, after: torch.Tensor, labels: torch.Tensor, split: ClassSplit
) -> dict[str, float]:
    """The mean length of feature displacements, and the mean cosine between them. *Oracle*.

    before, after : (N, D) of the same samples in one order; labels : (N,) int64. With d = after - before, returns
    `displacement_s` and `displacement_u`, the mean ||d||, and `cosine_class cosine_s cosine_u cosine_su`, the mean
    cosine of d over all pairs of different samples of one class, both of S, both of U, and one of each. NaN without
    samples or pairs, and for cosines with a sample that did not move. Needs no N^2 memory. Raises UserError for shapes,
    labels or features that do not fit. Source: paper, feature displacement figure; these numbers, ours.
    """
    if before.shape != after.shape:
        raise UserError(
            f"features before and after have shapes {tuple(before.shape)} and {tuple(after.shape)}; expected the same "
            "samples in both"
        )
    check_features(before, labels, split)
    check_features(after, labels, split)
    length = before.new_empty(len(labels), dtype=torch.float64)
    sums = length.new_zeros(split.num_classes, before.shape[1])
    for rows in chunks(len(labels)):
        step = after[rows].double() - before[rows].double()
        length[rows] = step.norm(dim=1)
        sums.index_add_(0, labels[rows], step / length[rows, None])
    sizes = torch.bincount(labels, minlength=split.num_classes).double()

    def within(sums: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        # |sum of n unit vectors|^2 = n + the sum of the cosines of all ordered pairs
        sums, sizes = sums[sizes > 1], sizes[sizes > 1]
        return (sums.square().sum(1) - sizes).sum() / (sizes * (sizes - 1)).sum()

    seen_classes = split.seen_mask.to(labels.device)
    sum_s, n_s = sums[seen_classes].sum(0, keepdim=True), sizes[seen_classes].sum(0, keepdim=True)
    sum_u, n_u = sums[~seen_classes].sum(0, keepdim=True), sizes[~seen_classes].sum(0, keepdim=True)
    values = {
        "cosine_class": within(sums, sizes),
        "cosine_s": within(sum_s, n_s),
        "cosine_u": within(sum_u, n_u),
        "cosine_su": (sum_s * sum_u).sum() / (n_s * n_u).sum(),
    }
    cosines = {name: value.item() for name, value in values.items()}
    return by_group({"displacement": length}, split.is_seen(labels)) | cosines


def mean_motion(means_before: torch.Tensor, means_after: torch.Tensor, split: ClassSplit) -> dict[str, float]:
    """Mean ||m_c(after) - m_c(before)|| over all classes, S and U, between two checkpoints. *Oracle*.

    Both (C, D) from `class_means`, of unit length. Returns `motion_y motion_s motion_u`; classes without samples (NaN
    rows) are left out, NaN if none is left. Raises UserError for shapes that do not fit. Source: the paper's
    published code.
    """
    if means_before.ndim != 2 or means_before.shape != means_after.shape or len(means_before) != split.num_classes:
        shapes = f"{tuple(means_before.shape)} and {tuple(means_after.shape)}"
        raise UserError(
            f"class means before and after have shapes {shapes}; expected ({split.num_classes}, D) for both"
        )
    step = (means_after - means_before).norm(dim=1)
    seen = split.seen_mask.to(means_before.device)
    return {
        "motion_y": step.nanmean().item(),
        "motion_s": step[seen].nanmean().item(),
        "motion_u": step[~seen].nanmean().item(),
    }


def dispersion(
    train_features: torch.Tensor,
    train_labels: torch.Tensor,
    test_features: torch.Tensor,
    test_labels: torch.Tensor,
    split: ClassSplit,
) -> pd.DataFrame:
    """The 16 mean Euclidean distances of unit features from the centres of the data, at one checkpoint. *Oracle*.

    features : (N, D); labels : (N,) int64. Columns: part (`train`, `test`), group (`s`, `u`, of the samples), to,
    distance. `to` is the centre: `class` (the own class's mean, from `class_means`, so of unit length), or `own_group`,
    `other_group` or `all` (plain means of unit features). All centres come from the training features. Test samples of
    a class without training samples are left out of `class`; NaN for a group or centre without samples. Raises
    UserError for shapes, labels or features that do not fit. Source: the paper's published code, which takes the test
    samples' centres from the test features.
    """
    parts = {"train": (train_features, train_labels), "test": (test_features, test_labels)}
    for features, labels in parts.values():
        check_features(features, labels, split)
    unit, seen = by_rows(unit_rows, train_features), split.is_seen(train_labels)
    classes = class_means(train_features, train_labels, split.num_classes)
    groups = torch.stack([unit[~seen].mean(0), unit[seen].mean(0)])
    overall = unit.mean(0)
    del unit  # the largest tensor here

    def distances(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """From each of the four centres, (n, 4)."""
        unit, seen = unit_rows(features), split.is_seen(labels).long()
        centres = (classes[labels], groups[seen], groups[1 - seen], overall)
        return torch.stack([(unit - centre).norm(dim=1) for centre in centres], 1)

    rows = []
    for part, (features, labels) in parts.items():
        seen = split.is_seen(labels)
        found = by_rows(distances, features, labels).unbind(1)
        for to, distance in zip(("class", "own_group", "other_group", "all"), found):
            rows.append((part, "s", to, distance[seen].nanmean().item()))
            rows.append((part, "u", to, distance[~seen].nanmean().item()))
    return pd.DataFrame(rows, columns=["part", "group", "to", "distance"])


def absent_logits(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> dict[str, float]:
    """Mean logits over the samples of absent classes, at one checkpoint. *Oracle*.

    logits : (N, C); labels : (N,) int64. Returns `logit_true` (of the true class), `logit_other_absent` (the best other
    absent class, -inf where there is no other) and `logit_seen` (the best seen class); NaN without such samples. Raises
    UserError for shapes or labels that do not fit. Source: paper, figure of the absent logits; `logit_seen`, ours.
    """
    check_scores(logits, labels, split)
    rows = ~split.is_seen(labels)
    logits, own = logits[rows].double(), labels[rows][:, None]
    others = logits.scatter(1, own, -torch.inf)
    values = {
        "true": logits.gather(1, own),
        "other_absent": max_over(others, split.absent)[0],
        "seen": max_over(logits, split.seen)[0],
    }
    return {f"logit_{name}": value.mean().item() for name, value in values.items()}


def separability(
    train_features: torch.Tensor,
    train_labels: torch.Tensor,
    test_features: torch.Tensor,
    test_labels: torch.Tensor,
    split: ClassSplit,
) -> float:
    """The test AUC of a linear classifier of samples of S against samples of U; 0.5 by chance. *Oracle*.

    features : (N, D); labels : (N,) int64. Logistic regression (L2, strength 1) on features standardised by the
    training data, fit on train. Raises UserError for shapes, labels or features that do not fit, and for a part without
    samples of S or of U. Source: ours.
    """
    from sklearn.linear_model import LogisticRegression  # heavy, and only needed here
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    parts = {"train": (train_features, train_labels), "test": (test_features, test_labels)}
    seen = {}
    for part, (features, labels) in parts.items():
        check_features(features, labels, split)
        seen[part] = split.is_seen(labels).cpu().numpy()
        if seen[part].all() or not seen[part].any():
            raise UserError(
                f"separability needs samples of seen and of absent classes; the {part} part has only one of the two"
            )
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(train_features.double().cpu().numpy(), seen["train"])
    decision = model.decision_function(test_features.double().cpu().numpy())
    return float(roc_auc_score(seen["test"], decision))
