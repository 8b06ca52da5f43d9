"""Estimators of gamma that see the fine-tuning data alone: labels of seen classes, no absent-class image.

All compare how high the network scores seen classes that are *wrong* with how high it scores absent classes, on the
same samples. They differ in the statistic (mean or maximum over classes) and in what they call no gap at all: zero, or
the gap that the pre-trained model had on these samples.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..errors import UserError, unknown
from ..split import ClassSplit
from .accuracy import best_in
from .calibration import average_logit_gap, check_fine_tuning_data


@dataclass(frozen=True)
class Evidence:
    """What an estimator may look at: the fine-tuning data in eval mode without augmentation.

    logits : (N, C) of the fine-tuned model; labels : (N,) int64, all of seen classes; pretrained_logits : (N, C) of
    the model before fine-tuning on the same rows, or None where it is not at hand.
    """

    logits: torch.Tensor
    labels: torch.Tensor
    split: ClassSplit
    pretrained_logits: torch.Tensor | None = None


def largest_logit_gap(train_logits: torch.Tensor, train_labels: torch.Tensor, split: ClassSplit) -> float:
    """The mean over samples of the largest wrong seen logit minus the largest absent logit.

    Shapes, units and errors as in `average_logit_gap`. Prediction takes maxima, so this is the average logit gap with
    the statistic that decides. Source: ours.
    """
    check_fine_tuning_data(train_logits, train_labels, split)
    wrong = train_logits.double().scatter(1, train_labels[:, None], -torch.inf)
    return (best_in(wrong, split.seen)[0] - best_in(wrong, split.absent)[0]).mean().item()


def _change(gap: Callable[[torch.Tensor, torch.Tensor, ClassSplit], float]) -> Callable[[Evidence], float]:
    def estimate(evidence: Evidence) -> float:
        if evidence.pretrained_logits is None:
            raise UserError("this estimator compares with the pre-trained model; give its checkpoint or its logits too")
        return gap(evidence.logits, evidence.labels, evidence.split) - gap(evidence.pretrained_logits, evidence.labels, evidence.split)

    return estimate


ESTIMATORS: dict[str, Callable[[Evidence], float]] = {
    "alg": lambda evidence: average_logit_gap(evidence.logits, evidence.labels, evidence.split),
    "alg_change": _change(average_logit_gap),
    "max_gap": lambda evidence: largest_logit_gap(evidence.logits, evidence.labels, evidence.split),
    "max_gap_change": _change(largest_logit_gap),
}


def estimate_gamma(method: str, evidence: Evidence) -> float:
    """gamma by a named estimator of `ESTIMATORS`.

    `alg` and `max_gap` take the gap as it is; `alg_change` and `max_gap_change` subtract the pre-trained model's gap on
    the same samples. Raises UserError for an unknown name, for data that `average_logit_gap` refuses, and where the
    pre-trained logits are needed and missing. Source: `alg` paper section 6; the others ours.
    """
    if method not in ESTIMATORS:
        raise unknown("method", method, ESTIMATORS)
    return ESTIMATORS[method](evidence)
