"""The expected calibration error: the distance between confidence and accuracy."""

import torch

from ...core.class_split import ClassSplit
from ...core.errors import UserError
from .accuracy import check_scores, group_masks


def expected_calibration_error(logits: torch.Tensor, labels: torch.Tensor, bins: int = 15) -> float:
    """The mean distance between confidence and accuracy, over bins of equal width weighted by their samples.

    logits : (N, C); labels : (N,) int64. Confidence is the largest softmax probability; bin k holds (k/bins,
    (k+1)/bins]. Returns a fraction; NaN without samples. Raises UserError for shapes that do not fit, rows without a
    softmax and no bins. Source: Guo et al. 2017.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise UserError(
            f"logits have shape {tuple(logits.shape)} and labels {tuple(labels.shape)}; expected (N, C) and (N,)"
        )
    if bins < 1:
        raise UserError(f"bins is {bins}; give at least 1")
    confidence, predicted = logits.double().softmax(1).max(1)
    if confidence.isnan().any():
        raise UserError(
            f"row {int(confidence.isnan().nonzero()[0])} has no softmax: NaN, +inf, or -inf everywhere; check the "
            "model that made it"
        )
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=logits.device)[1:-1]
    excess = confidence - (predicted == labels).double()
    by_bin = excess.new_zeros(bins).index_add_(0, torch.bucketize(confidence, edges), excess)
    return (by_bin.abs().sum() / len(labels)).item()


def calibration_errors(
    logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit, bins: int = 15
) -> dict[str, float]:
    """The expected calibration error of all samples and of each group, over all C columns: `ece_y ece_s ece_u`.

    Shapes and units as in `expected_calibration_error`; NaN for a group without samples. Errors of opposite sign cancel
    in a bin, so `ece_y` can be small although both groups have large errors. Raises UserError also for labels outside
    the classes. Source: Guo et al. 2017, for each group of paper section 3.
    """
    check_scores(logits, labels, split)
    errors = {}
    for group, mask in group_masks(labels, split).items():
        errors[f"ece_{group}"] = expected_calibration_error(logits[mask], labels[mask], bins)
    return errors
