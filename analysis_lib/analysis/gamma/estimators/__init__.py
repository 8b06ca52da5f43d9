"""Estimators of gamma by name: what each computes, what data it needs, and how figures show it.

Most use the fine-tuning data alone: labels of seen classes, no image of an absent class. An estimator that needs more
lists it in `needs`. Transductive estimators use unlabelled images of the target domain; the oracle uses their labels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ....core.class_split import ClassSplit
from ....core.errors import UserError, unknown
from ..curve import seen_absent_curve
from . import logit_gap, prior_matching, pseudo_cv, stand_in, transported_cv
from .pseudo_cv import Fold

# what an estimator may need
PRETRAINED, HALVES, THIRDS, UNLABELLED, LABELS = "pretrained", "halves", "thirds", "unlabelled", "labels"


@dataclass(frozen=True)
class Evidence:
    """The data that an estimator may use; None where there is none.

    logits (N, C) : of the fine-tuned model on the fine-tuning data, in eval mode without augmentation.
    labels (N,) : int64, all of seen classes.
    pretrained_logits (N, C) : of the model before fine-tuning, on the same rows.
    halves : the folds of pseudo cross-validation, as in the paper.
    thirds : the folds of cross-validation over classes; each seen class is pseudo-absent in one of them.
    target_logits (N', C) : of the fine-tuned model on target images of all classes.
    target_labels (N',) : int64, for the oracle only.
    absent_share : of absent samples where the model will be used; None takes the share of absent classes.
    """

    logits: torch.Tensor
    labels: torch.Tensor
    split: ClassSplit
    pretrained_logits: torch.Tensor | None = None
    halves: Sequence[Fold] | None = None
    thirds: Sequence[Fold] | None = None
    target_logits: torch.Tensor | None = None
    target_labels: torch.Tensor | None = None
    absent_share: float | None = None

    @property
    def holds(self) -> frozenset[str]:
        """The needs of estimators that this evidence meets."""
        parts = {
            PRETRAINED: self.pretrained_logits,
            HALVES: self.halves,
            THIRDS: self.thirds,
            UNLABELLED: self.target_logits,
            LABELS: self.target_labels,
        }
        return frozenset(name for name, part in parts.items() if part is not None)


@dataclass(frozen=True)
class Estimator:
    """An estimator of gamma, and how figures show it.

    gamma : the function from the evidence to gamma.
    title, marker : for figures.
    needs : the data it uses beyond the fine-tuning data.
    takes_share : whether gamma depends on the share of absent samples in the evidence.
    """

    gamma: Callable[[Evidence], float]
    title: str
    marker: str
    needs: frozenset[str] = frozenset()
    takes_share: bool = False

    @property
    def extra_training(self) -> bool:
        """Whether it trains more networks, as for the folds."""
        return bool(self.needs & {HALVES, THIRDS})

    @property
    def transductive(self) -> bool:
        """Whether it uses unlabelled target images, but not their labels."""
        return UNLABELLED in self.needs and not self.oracle

    @property
    def oracle(self) -> bool:
        """Whether it uses labels of absent classes."""
        return LABELS in self.needs


def _alg(e: Evidence) -> float:
    return logit_gap.average_logit_gap(e.logits, e.labels, e.split)


def _max_gap(e: Evidence) -> float:
    return logit_gap.largest_logit_gap(e.logits, e.labels, e.split)


def _alg_change(e: Evidence) -> float:
    return _alg(e) - logit_gap.average_logit_gap(e.pretrained_logits, e.labels, e.split)


def _max_gap_change(e: Evidence) -> float:
    return _max_gap(e) - logit_gap.largest_logit_gap(e.pretrained_logits, e.labels, e.split)


def _stand_in(e: Evidence) -> float:
    return stand_in.stand_in_gamma(e.logits, e.pretrained_logits, e.labels, e.split, absent_share=e.absent_share)


def _stand_in_sure(e: Evidence) -> float:
    return stand_in.stand_in_gamma(e.logits, e.pretrained_logits, e.labels, e.split, torch.ones_like, e.absent_share)


def _pcv(e: Evidence) -> float:
    return pseudo_cv.pseudo_cross_validation(e.halves, _alg(e))


def _pcv_thirds(e: Evidence) -> float:
    return pseudo_cv.pseudo_cross_validation(e.thirds, _alg(e))


def _transported_cv(e: Evidence) -> float:
    return transported_cv.transported_gamma(e.logits, e.labels, e.split, e.thirds, e.absent_share)


def _matched_share(e: Evidence) -> float:
    return prior_matching.matched_share_gamma(e.target_logits, e.split, e.absent_share)


def _matched_stand_in(e: Evidence) -> float:
    return (_matched_share(e) + _stand_in(e)) / 2


def _best(e: Evidence) -> float:
    return seen_absent_curve(e.target_logits, e.target_labels, e.split).best().gamma


NONE, ALG, ORACLE = "none", "alg", "gamma* (oracle)"
MATCHED, MATCHED_STAND_IN = "matched_share (transductive)", "matched_stand_in (transductive)"
ESTIMATORS: dict[str, Estimator] = {
    NONE: Estimator(lambda e: 0.0, "no shift", "o"),
    ALG: Estimator(_alg, "ALG", "^"),
    "alg_change": Estimator(_alg_change, "ALG, change", ">", frozenset({PRETRAINED})),
    "max_gap": Estimator(_max_gap, "largest-logit gap", "D"),
    "max_gap_change": Estimator(_max_gap_change, "largest-logit gap, change", "d", frozenset({PRETRAINED})),
    "stand_in": Estimator(_stand_in, "stand-ins", "s", frozenset({PRETRAINED}), takes_share=True),
    "stand_in_sure": Estimator(_stand_in_sure, "stand-ins, sure", "p", frozenset({PRETRAINED}), takes_share=True),
    "pcv": Estimator(_pcv, "PCV", "v", frozenset({HALVES})),
    "pcv_thirds": Estimator(_pcv_thirds, "PCV on thirds", "<", frozenset({THIRDS})),
    "transported_cv": Estimator(_transported_cv, "transported folds", "P", frozenset({THIRDS}), takes_share=True),
    MATCHED: Estimator(_matched_share, "matched share (transductive)", "h", frozenset({UNLABELLED}), takes_share=True),
    MATCHED_STAND_IN: Estimator(
        _matched_stand_in,
        "matched share with\nstand-ins (transductive)",
        "|",
        frozenset({UNLABELLED, PRETRAINED}),
        takes_share=True,
    ),
    ORACLE: Estimator(_best, "$\\gamma^*$ (oracle)", "*", frozenset({UNLABELLED, LABELS})),
}
AUTO = ("transported_cv", "stand_in", "max_gap")  # the best for the given data comes first; chosen on development runs
# the same, where the absent share is known
AUTO_TOLD = ("transported_cv", MATCHED_STAND_IN, MATCHED, "stand_in", "max_gap")
TYPED = {"matched_share": MATCHED, "matched_stand_in": MATCHED_STAND_IN}  # what users may write instead


def offered(needs_at_most: frozenset[str]) -> list[str]:
    """The estimators whose needs are among the given ones, without `none`."""
    return [name for name, estimator in ESTIMATORS.items() if estimator.needs <= needs_at_most and name != NONE]


def resolve(method: str, holds: frozenset[str], knows_share: bool = False) -> str:
    """The name of the estimator that a user's `method` means. `auto` is the best one that the given data allow.

    holds : what is given beyond the fine-tuning data. knows_share : whether the absent share of the target is given or
    can be estimated. Without it `auto` does not match the share of unlabelled images: where that is not the share of
    the classes, matching does harm. Raises UserError for a name that is not offered, and for a method without the
    images, the pre-trained model or the folds that it needs. Source: ours.
    """
    if method == "auto":
        return next(name for name in (AUTO_TOLD if knows_share else AUTO) if ESTIMATORS[name].needs <= holds)
    method = TYPED.get(method, method)
    names = offered(holds | {PRETRAINED, THIRDS, UNLABELLED})
    if method not in names:
        typed = {name: short for short, name in TYPED.items()}
        raise unknown("method", method, ["auto", *(typed.get(name, name) for name in names)])
    if THIRDS in ESTIMATORS[method].needs - holds:
        raise UserError(f"{method} trains folds; allow them with --folds (in Python `folds`), or choose another method")
    if UNLABELLED in ESTIMATORS[method].needs - holds:
        raise UserError(f"{method} looks at unlabelled images of the target; give them, or choose another method")
    if PRETRAINED in ESTIMATORS[method].needs - holds:
        raise UserError(f"{method} compares with the pre-trained model; give its checkpoint or its logits too")
    return method


def estimate_gamma(method: str, evidence: Evidence) -> float:
    """gamma by a named estimator of `ESTIMATORS`, or by `auto`.

    `alg` and `max_gap` are the average and the largest logit gap. `alg_change` and `max_gap_change` subtract the
    pre-trained model's gap on the same samples. `stand_in` is `stand_in_gamma`; `stand_in_sure` counts every stand-in
    as right among the absent classes. `pcv` is `pseudo_cross_validation` on halves, `pcv_thirds` on thirds;
    `transported_cv` is `transported_gamma`. The transductive ones match the share of absent predictions. Raises
    UserError as `resolve`, for evidence that lacks what the estimator needs, for data that it refuses, and for a gamma
    that is not finite. Source: `alg` and `pcv` paper section 6; the others ours.
    """
    if method not in ESTIMATORS:
        method = resolve(method, evidence.holds, evidence.absent_share is not None)
    estimator = ESTIMATORS[method]
    if PRETRAINED in estimator.needs - evidence.holds:
        raise UserError(f"{method} compares with the pre-trained model; give its checkpoint or its logits too")
    if lacking := sorted(estimator.needs - evidence.holds):
        raise UserError(f"{method} needs {' and '.join(lacking)}, which this evidence does not hold")
    return logit_gap.finite(method, estimator.gamma(evidence))
