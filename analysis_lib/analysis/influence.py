"""How fine-tuning examples reach other samples: closed forms at the head, and statistics of feature displacements.

Letters: N samples, C classes, D feature width, K classes of the fine-tuning data; x' a target, often of an absent class;
f features, W (C, D) the head's weight, p the softmax; a displacement is what one step adds to f(x') or to a row of W.
Everything returned is float64. A zero vector has no direction: its cosines are NaN.
"""

import math

import torch
from torch.nn.functional import one_hot

from ..errors import UserError
from ..split import ClassSplit
from .ncm import ncm_scores


def _residuals(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """p_i - e_{y_i}, (N, C) float64: the gradient of each sample's cross-entropy in its logits."""
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise UserError(f"logits have shape {tuple(logits.shape)} and labels {tuple(labels.shape)}; expected (N, C) and (N,)")
    num_classes = logits.shape[1]
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise UserError(f"labels span {int(labels.min())}..{int(labels.max())}; expected 0..{num_classes - 1}")
    return torch.softmax(logits.double(), 1) - one_hot(labels, num_classes)


def feature_gradients(logits: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """g_i = W^T (p_i - e_{y_i}): the gradient of each sample's cross-entropy in its features.

    logits : (N, C); labels : (N,) int64; weight : (C, D) of the head. Returns (N, D). Raises UserError for labels that do
    not fit. Source: ours, after the paper's explanation by gradient similarity.
    """
    return _residuals(logits, labels) @ weight.double()


def head_step(features: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One SGD step of learning rate 1 on the head: dw_c = -(1/N) sum_i (p_ic - 1[y_i=c]) f_i, and db likewise.

    features : (N, D), logits : (N, C), labels : (N,) int64 of the fine-tuning data. Returns (C, D) and (C,). A class
    without samples is pushed away from every feature, by p_ic. Errors as in `feature_gradients`. Source: ours,
    after the paper's explanation by gradient similarity.
    """
    residuals = _residuals(logits, labels)
    return -residuals.T @ features.double() / len(labels), -residuals.mean(0)


def head_offset(features: torch.Tensor, weight_step: torch.Tensor, bias_step: torch.Tensor, split: ClassSplit) -> torch.Tensor:
    """How much one step of the head raises the mean absent logit over the mean seen logit, for each sample.

    features : (N', D); weight_step, bias_step : (C, D) and (C,) as from `head_step`. Returns (N',), in logits;
    negative where the absent classes lose. Raises UserError for a split of other classes. Source: ours.
    """
    if len(weight_step) != split.num_classes:
        raise UserError(f"the step is of {len(weight_step)} classes and the split of {split.num_classes}; they must agree")
    change = features.double() @ weight_step.double().T + bias_step.double()
    return change[:, list(split.absent)].mean(1) - change[:, list(split.seen)].mean(1)


def cosines(displacements: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """The cosine of every displacement with a direction.

    displacements : (..., D); directions : (D,) one for all, or of any shape that broadcasts, e.g. (N', D) one for each
    sample, (K, 1, D) one for each class of (K, N', D) class displacements. Returns (...). With minus the class means of
    `feature_gradients` as directions, values near 1 mean that the kernel is nearly a multiple of the identity.
    """
    a, b = displacements.double(), directions.double()
    return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))


def mean_pairwise_cosine(vectors: torch.Tensor) -> float:
    """The mean cosine of all pairs of different rows of (N, D), without an N x N matrix; NaN for fewer than two rows.

    For displacements of samples it says how much of the motion is common; for rows of a head step, whether their
    classes move together. Source: the identity ||sum u||^2 = N + sum over pairs; paper, figure on update directions.
    """
    n, unit = len(vectors), vectors.double() / vectors.double().norm(dim=1, keepdim=True)
    return (unit.sum(0).square().sum().item() - n) / (n * (n - 1)) if n > 1 else math.nan


def normalized_kernel(kernel: torch.Tensor, targets_self: torch.Tensor, images_self: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The class kernel over sqrt(k(x', x') mean_{i in c} k(x_i, x_i)): 0 for orthogonal gradients, at most 1.

    kernel : (N', K) from `class_kernel`; targets_self : (N',) and images_self : (N,) from `self_kernel`; labels : (N,) of
    the images. Returns (N', K). Raises UserError when the classes of the labels are not the K columns. Source: ours.
    """
    classes, column = labels.unique(return_inverse=True)
    if kernel.shape != (len(targets_self), len(classes)):
        raise UserError(f"the kernel has shape {tuple(kernel.shape)}; expected {(len(targets_self), len(classes))}, targets by classes of the labels")
    own = images_self.new_zeros(len(classes)).index_add(0, column, images_self) / column.bincount()
    return kernel / (targets_self[:, None] * own).sqrt()


def concentration(sizes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """The share of a target's displacement that the k classes of highest score account for, for every k.

    sizes : (N', K), the norms ||a_c(x')||; scores : (N', K), e.g. the kernel or cosines of features. Returns (N', K), whose
    column k - 1 is sum of the top k over sum of all, in [0, 1]; the first class wins a tie. A score that tells nothing
    gives k / K on average. Raises UserError for shapes that differ. Source: ours.
    """
    _check_alike(sizes, scores)
    ranked = sizes.double().gather(1, scores.argsort(dim=1, descending=True, stable=True)).cumsum(1)
    return ranked / ranked[:, -1:]


def rank_correlation(sizes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Spearman's rank correlation of each row of (N', K) sizes with that of scores: (N',); ties share their mean rank.

    NaN for a row that is constant. Raises UserError for shapes that differ. Source: Spearman 1904.
    """
    _check_alike(sizes, scores)
    a, b = (ranks - ranks.mean(1, keepdim=True) for ranks in (_ranks(sizes), _ranks(scores)))
    return cosines(a, b)


def _ranks(values: torch.Tensor) -> torch.Tensor:
    """Ranks 1..K within each row, the mean rank for ties."""
    values = values.contiguous()
    ordered = values.sort(1).values
    below, upto = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return (below + upto + 1).double() / 2


def _check_alike(sizes: torch.Tensor, scores: torch.Tensor) -> None:
    if sizes.ndim != 2 or sizes.shape != scores.shape:
        raise UserError(f"sizes have shape {tuple(sizes.shape)} and scores {tuple(scores.shape)}; expected one shape (N', K)")


def margin_change(features: torch.Tensor, displacements: torch.Tensor, labels: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    """The derivative of the nearest-class-mean margin cos(f, m_y) - max_{c != y} cos(f, m_c) along each displacement.

    features, displacements : (N', D); labels : (N',) int64; means : (C, D) from `class_means`, held fixed, NaN for a
    class that is never a rival. Returns (N',), positive where the step helps, NaN where the label has no mean. *Oracle*:
    it uses the labels and means of absent classes. Raises UserError when fewer than two classes have a mean. Source: ours.
    """
    if (~means.isnan().any(1)).sum() < 2:
        raise UserError("a margin needs a rival: at least two classes must have a mean")
    scores = ncm_scores(features, means).scatter(1, labels[:, None], -torch.inf)
    length = features.double().norm(dim=1, keepdim=True)
    unit, motion = features.double() / length, displacements.double() / length
    turn = motion - (motion * unit).sum(1, keepdim=True) * unit
    return (turn * (means[labels] - means[scores.argmax(1)])).sum(1)
