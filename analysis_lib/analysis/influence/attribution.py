"""Statistics of feature displacements: direction, common motion, concentration on classes, effect on margins.

Letters: N samples, C classes, D feature width, K classes of the fine-tuning data; x' a target, often of an absent
class; f features, W (C, D) the head's weight, p the softmax. A displacement is what one step adds to f(x') or to a row
of W. All results are float64. A zero vector has no direction: its cosines are NaN.
"""

import math

import torch

from ...core.errors import UserError
from ..metrics.ncm import ncm_scores


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

    For displacements of samples it measures how much of the motion is common; for rows of a head step, whether their
    classes move together. Source: the identity ||sum u||^2 = N + sum over pairs; paper, figure on update directions.
    """
    n = len(vectors)
    if n < 2:
        return math.nan
    unit = vectors.double() / vectors.double().norm(dim=1, keepdim=True)
    return (unit.sum(0).square().sum().item() - n) / (n * (n - 1))


def concentration(sizes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """The share of a target's displacement that is due to the k classes of highest score, for every k.

    sizes : (N', K), the norms ||a_c(x')||; scores : (N', K), e.g. the kernel or cosines of features. Returns (N', K).
    Column k - 1 is the sum of sizes of the top k classes over the sum of all, in [0, 1]; the first class wins a tie. An
    uninformative score gives k / K on average. Raises UserError for shapes that differ. Source: ours.
    """
    _check_alike(sizes, scores)
    ranked = sizes.double().gather(1, scores.argsort(dim=1, descending=True, stable=True)).cumsum(1)
    return ranked / ranked[:, -1:]


def rank_correlation(sizes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Spearman's rank correlation of each row of (N', K) sizes with that of scores: (N',); ties share their mean rank.

    NaN for a row that is constant. Raises UserError for shapes that differ. Source: Spearman 1904.
    """
    _check_alike(sizes, scores)
    a, b = _ranks(sizes), _ranks(scores)
    return cosines(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True))


def _check_alike(sizes: torch.Tensor, scores: torch.Tensor) -> None:
    if sizes.ndim != 2 or sizes.shape != scores.shape:
        raise UserError(
            f"sizes have shape {tuple(sizes.shape)} and scores {tuple(scores.shape)}; expected one shape (N', K)"
        )


def _ranks(values: torch.Tensor) -> torch.Tensor:
    """Ranks 1..K within each row, (N', K) float64; the mean rank for ties."""
    from scipy.stats import rankdata  # heavy, and only needed here

    return torch.from_numpy(rankdata(values.cpu().numpy(), axis=1))


def margin_change(
    features: torch.Tensor, displacements: torch.Tensor, labels: torch.Tensor, means: torch.Tensor
) -> torch.Tensor:
    """The derivative of the nearest-class-mean margin cos(f, m_y) - max_{c != y} cos(f, m_c) along each displacement.

    features, displacements : (N', D); labels : (N',) int64; means : (C, D) from `class_means`, held fixed; a class with
    a NaN mean is never m_c. Returns (N',), positive if the step helps, NaN if the label has no mean. *Oracle*: it uses
    the labels and means of absent classes. Raises UserError when fewer than two classes have a mean.
    Source: ours.
    """
    if (~means.isnan().any(1)).sum() < 2:
        raise UserError("a margin needs a rival: at least two classes must have a mean")
    scores = ncm_scores(features, means).scatter(1, labels[:, None], -torch.inf)
    length = features.double().norm(dim=1, keepdim=True)
    unit, motion = features.double() / length, displacements.double() / length
    rotation = motion - (motion * unit).sum(1, keepdim=True) * unit  # the part that changes the direction of f
    return (rotation * (means[labels] - means[scores.argmax(1)])).sum(1)
