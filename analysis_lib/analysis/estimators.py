"""Estimators of gamma that see the fine-tuning data alone: labels of seen classes, no absent-class image.

The gaps compare how high the network scores seen classes that are *wrong* with how high it scores absent classes, on
the same samples. They differ in the statistic (mean or maximum over classes) and in what they call no gap at all: zero,
or the gap that the pre-trained model had on these samples. The stand-in estimator lets every sample play an absent one.
Apart stands `matched_share_gamma`, which is transductive: it looks at unlabelled images of the target, absent classes among them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..errors import UserError, unknown
from ..split import ClassSplit
from .accuracy import best_in, check_scores
from .calibration import average_logit_gap, between, check_fine_tuning_data


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


def stand_in_gamma(
    logits: torch.Tensor, pretrained_logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit,
    leads: Callable[[torch.Tensor], torch.Tensor] = torch.sigmoid,
) -> float:
    """The gamma of the largest expected accuracy when every fine-tuning sample also stands in for an absent one.

    logits, pretrained_logits : (N, C) after and before fine-tuning; labels : (N,) int64 of seen classes. As itself, a
    sample is right where its class leads the seen ones, and stays so while gamma is at most its gap. As a stand-in its
    class is taken for absent: the own logit is the pre-trained one plus the mean change of this sample's absent logits,
    and it wins once gamma exceeds the lead of the largest wrong seen logit. `leads` gives the chance that it is right
    among the absent classes from its lead over the largest of them: by default the two-class softmax. Groups count by
    their number of classes; among equals the smallest gamma. Raises UserError as `average_logit_gap`. Source: ours.
    """
    check_fine_tuning_data(logits, labels, split)
    check_scores(pretrained_logits, labels, split)
    logits, before, own = logits.double(), pretrained_logits.double(), labels[:, None]
    absent = list(split.absent)
    (top_s, leader), top_u = best_in(logits, split.seen), best_in(logits, absent)[0]
    played = before.gather(1, own).squeeze(1) + (logits - before)[:, absent].mean(1)
    wrong_s = best_in(logits.scatter(1, own, -torch.inf), split.seen)[0]
    breakpoints, state = torch.cat([top_s - top_u, wrong_s - played]).unique(return_inverse=True)
    lost, won = len(split.seen) * (leader == labels).double(), len(absent) * leads(played - top_u)
    change = torch.zeros_like(breakpoints).index_add(0, state, torch.cat([-lost, won]))
    return _finite("stand_in", between(breakpoints)[torch.cat([change.new_zeros(1), change.cumsum(0)]).argmax()].item())


def _finite(method: str, gamma: float) -> float:
    if not math.isfinite(gamma):
        raise UserError(f"{method} finds no finite gamma ({gamma}): some logits are infinite; drop classes that are never predicted")
    return gamma


def matched_share_gamma(target_logits: torch.Tensor, split: ClassSplit, share: float | None = None) -> float:
    """The gamma at which the wanted share of unlabelled target samples is predicted absent.

    target_logits : (N, C) of the fine-tuned model on images of all classes; share : of absent samples among them, in
    [0, 1]; when None that of the classes, which is right where classes are equally frequent. Of the states that one
    gamma can reach, the nearest in share, the lower of two. Raises UserError for logits without rows, of other classes
    or with NaN, for a sample whose groups cannot be compared, and for a share outside [0, 1]. Source: ours.
    """
    if target_logits.ndim != 2 or target_logits.shape[1] != split.num_classes or not len(target_logits):
        raise UserError(f"the target logits have shape {tuple(target_logits.shape)}; expected (N, {split.num_classes}) with at least one row")
    share = len(split.absent) / split.num_classes if share is None else share
    if not 0 <= share <= 1:
        raise UserError(f"the share of absent samples is {share}; expected a fraction from 0 to 1")
    gaps = best_in(target_logits, split.seen)[0].double() - best_in(target_logits, split.absent)[0].double()
    if target_logits.isnan().any() or gaps.isnan().any():
        raise UserError("the target logits hold NaN, or infinities that leave a sample no finite gap; drop these samples")
    breakpoints, counts = gaps[gaps.isfinite()].unique(return_counts=True)  # an infinite gap keeps its side whatever gamma
    absent = (gaps == -torch.inf).sum() + torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return between(breakpoints)[(absent - share * len(gaps)).abs().argmin()].item()


def _change(gap: Callable[[torch.Tensor, torch.Tensor, ClassSplit], float]) -> Callable[[Evidence], float]:
    return lambda e: gap(e.logits, e.labels, e.split) - gap(e.pretrained_logits, e.labels, e.split)


ESTIMATORS: dict[str, Callable[[Evidence], float]] = {
    "alg": lambda e: average_logit_gap(e.logits, e.labels, e.split),
    "alg_change": _change(average_logit_gap),
    "max_gap": lambda e: largest_logit_gap(e.logits, e.labels, e.split),
    "max_gap_change": _change(largest_logit_gap),
    "stand_in": lambda e: stand_in_gamma(e.logits, e.pretrained_logits, e.labels, e.split),
    "stand_in_sure": lambda e: stand_in_gamma(e.logits, e.pretrained_logits, e.labels, e.split, torch.ones_like),
}
COMPARING = ("alg_change", "max_gap_change", "stand_in", "stand_in_sure")  # these need the pre-trained logits too
AUTO = ("stand_in", "max_gap")  # with and without the pre-trained model: chosen on development runs, see notebook 09


def resolve(method: str, has_pretrained: bool) -> str:
    """The name in `ESTIMATORS` that `method` stands for: `auto` takes the best that the evidence allows.

    Raises UserError for an unknown name and for a method of `COMPARING` without the pre-trained model. Source: ours.
    """
    method = AUTO[0 if has_pretrained else 1] if method == "auto" else method
    if method not in ESTIMATORS:
        raise unknown("method", method, ["auto", *ESTIMATORS])
    if method in COMPARING and not has_pretrained:
        raise UserError(f"{method} compares with the pre-trained model; give its checkpoint or its logits too")
    return method


def estimate_gamma(method: str, evidence: Evidence) -> float:
    """gamma by a named estimator of `ESTIMATORS`, or by `auto`.

    `alg` and `max_gap` take the gap as it is; `alg_change` and `max_gap_change` subtract the pre-trained model's gap on
    the same samples; `stand_in` is `stand_in_gamma`, and `stand_in_sure` takes every stand-in for right among the absent
    classes. Raises UserError as `resolve`, and for data that
    `average_logit_gap` refuses or that give no finite gamma. Source: `alg` paper section 6; the others ours.
    """
    method = resolve(method, evidence.pretrained_logits is not None)
    return _finite(method, ESTIMATORS[method](evidence))
