"""Pseudo cross-validation (PCV): gamma from fine-tunings in which some seen classes play absent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ....core.class_split import ClassSplit
from ..curve import SeenAbsentCurve, seen_absent_curve


@dataclass(frozen=True)
class Fold:
    """One fold of pseudo cross-validation: half of the seen classes play absent, and no absent class takes part.

    logits, pretrained_logits : (N, |S|), the columns of the seen classes only, after and before the fold's
    fine-tuning; labels : (N,) int64 in 0..|S|-1; split : over these |S| classes, `seen` those the fold trained on.
    """

    logits: torch.Tensor
    pretrained_logits: torch.Tensor
    labels: torch.Tensor
    split: ClassSplit


def best_overall(curve: SeenAbsentCurve, kept: float) -> float | None:
    """The paper's choice: gamma of the largest Acc_Y/Y among the states whose Acc_U/Y is at least `kept`; None without one."""
    scores = curve.acc_yy.masked_fill(curve.acc_uy < kept, -torch.inf)
    return curve.gamma[scores.argmax()].item() if scores.max() > -torch.inf else None


def best_balanced(curve: SeenAbsentCurve, kept: float) -> float:
    """gamma of the largest mean of Acc_S/Y and Acc_U/Y, whatever the group sizes and whatever was `kept`. Source: ours."""
    return curve.gamma[(curve.acc_sy + curve.acc_uy).argmax()].item()


Choice = Callable[[SeenAbsentCurve, float], float | None]


def fold_gammas(folds: Sequence[Fold], choose: Choice = best_overall) -> list[float | None]:
    """gamma of each fold: what `choose` makes of its curve and of the pre-trained model's Acc_U/Y on its pseudo-absent classes.

    Among equals the smallest gamma. Raises UserError for shapes or labels that do not fit.
    """
    return [choose(seen_absent_curve(fold.logits, fold.labels, fold.split),
                   seen_absent_curve(fold.pretrained_logits, fold.labels, fold.split).at(0.0).acc_uy) for fold in folds]


def pseudo_cross_validation(folds: Sequence[Fold], fallback: float, choose: Choice = best_overall) -> float:
    """gamma_PCV: the mean of `fold_gammas` over the folds that have one, or `fallback` (gamma_ALG) where none has.

    It sees seen classes only: each fold fine-tunes the pre-trained model on half of them. Raises as `fold_gammas`.
    Source: paper section 6, PCV, with the leak of the released code closed; the fallback is ours.
    """
    found = [gamma for gamma in fold_gammas(folds, choose) if gamma is not None]
    return sum(found) / len(found) if found else fallback
