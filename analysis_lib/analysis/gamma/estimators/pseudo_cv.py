"""Pseudo cross-validation (PCV): gamma from fine-tuning runs that leave out some of the seen classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ....core.class_split import ClassSplit
from ..curve import seen_absent_curve


@dataclass(frozen=True)
class Fold:
    """One fold of cross-validation over classes. Some seen classes are pseudo-absent; absent classes are not used.

    The rows are all fine-tuning images of the run that the fold belongs to.

    logits, pretrained_logits (N, |S|) : the columns of the seen classes only, after and before the fold's fine-tuning.
    labels (N,) : int64 in 0..|S|-1.
    split : of these |S| classes; its `seen` are those that the fold trained on.
    held_out (N,) : bool, a fifth of every class; the fold trained on the other images of its pseudo-seen classes.
    clusters (N,) : int64, images of one number are not independent.
    """

    logits: torch.Tensor
    pretrained_logits: torch.Tensor
    labels: torch.Tensor
    split: ClassSplit
    held_out: torch.Tensor
    clusters: torch.Tensor

    @property
    def trained(self) -> torch.Tensor:
        """(N,) bool: the images that the fold trained on."""
        return self.split.is_seen(self.labels) & ~self.held_out

    def where(self, rows: torch.Tensor) -> "Fold":
        """The rows of a bool mask or an index."""
        return Fold(
            self.logits[rows],
            self.pretrained_logits[rows],
            self.labels[rows],
            self.split,
            self.held_out[rows],
            self.clusters[rows],
        )


def best_overall(fold: Fold) -> float | None:
    """gamma of the largest Acc_Y/Y on the held-out images that keeps the pre-trained Acc_U/Y of pseudo-absent classes.

    Pseudo-seen and pseudo-absent images are held out alike. None if no state keeps that accuracy. Source: paper section
    6.
    """
    tested = fold.where(fold.held_out)
    curve = seen_absent_curve(tested.logits, tested.labels, tested.split)
    kept = seen_absent_curve(tested.pretrained_logits, tested.labels, tested.split).at(0.0).acc_uy
    scores = curve.acc_yy.masked_fill(curve.acc_uy < kept, -torch.inf)
    return curve.gamma[scores.argmax()].item() if scores.max() > -torch.inf else None


def pseudo_cross_validation(folds: Sequence[Fold], fallback: float) -> float:
    """gamma_PCV: the mean of `best_overall` over the folds that have one, or `fallback` (gamma_ALG) if none has one.

    It uses seen classes only: each fold fine-tunes the pre-trained model on some of them. Raises UserError for shapes
    or labels that do not fit. Source: paper section 6, PCV, without the data leak of the released code; the fallback is
    ours.
    """
    found = [gamma for gamma in map(best_overall, folds) if gamma is not None]
    return sum(found) / len(found) if found else fallback
