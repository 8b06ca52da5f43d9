"""Pseudo cross-validation (PCV): gamma from fine-tuning runs that leave out some of the seen classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ....core.class_split import ClassSplit
from ..curve import SeenAbsentCurve, seen_absent_curve


@dataclass(frozen=True)
class Fold:
    """One fold of pseudo cross-validation. Half of the seen classes are pseudo-absent; absent classes are not used.

    logits, pretrained_logits (N, |S|) : the columns of the seen classes only, after and before the fold's fine-tuning.
    labels (N,) : int64 in 0..|S|-1.
    split : of these |S| classes; its `seen` are those that the fold trained on.
    """

    logits: torch.Tensor
    pretrained_logits: torch.Tensor
    labels: torch.Tensor
    split: ClassSplit


def best_overall(curve: SeenAbsentCurve, kept: float) -> float | None:
    """gamma of the largest Acc_Y/Y among the states with Acc_U/Y of at least `kept`; None if there is no such state.

    Source: paper section 6.
    """
    scores = curve.acc_yy.masked_fill(curve.acc_uy < kept, -torch.inf)
    return curve.gamma[scores.argmax()].item() if scores.max() > -torch.inf else None


def best_balanced(curve: SeenAbsentCurve, kept: float) -> float:
    """gamma of the largest mean of Acc_S/Y and Acc_U/Y, whatever the group sizes. Ignores `kept`. Source: ours."""
    return curve.gamma[(curve.acc_sy + curve.acc_uy).argmax()].item()


Choice = Callable[[SeenAbsentCurve, float], float | None]


def fold_gammas(folds: Sequence[Fold], choose: Choice = best_overall) -> list[float | None]:
    """gamma of each fold, by `choose`; among equals the smallest.

    `choose` gets the fold's seen-absent curve and the pre-trained model's Acc_U/Y on the fold's pseudo-absent classes.
    Raises UserError for shapes or labels that do not fit.
    """
    gammas = []
    for fold in folds:
        after = seen_absent_curve(fold.logits, fold.labels, fold.split)
        before = seen_absent_curve(fold.pretrained_logits, fold.labels, fold.split)
        gammas.append(choose(after, before.at(0.0).acc_uy))
    return gammas


def pseudo_cross_validation(folds: Sequence[Fold], fallback: float, choose: Choice = best_overall) -> float:
    """gamma_PCV: the mean of `fold_gammas` over the folds that have one, or `fallback` (gamma_ALG) if none has.

    It uses seen classes only: each fold fine-tunes the pre-trained model on half of them. Raises as `fold_gammas`.
    Source: paper section 6, PCV, without the data leak of the released code; the fallback is ours.
    """
    found = [gamma for gamma in fold_gammas(folds, choose) if gamma is not None]
    return sum(found) / len(found) if found else fallback
