"""One number gamma added to every absent logit: the whole trade-off it spans, and ways to choose it.

With a_i = max_S z_i, u_i = max_U z_i and gap_i = a_i - u_i, sample i is predicted absent exactly when gap_i < gamma.
So the accuracies change only at the distinct gaps, and one sort gives all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..errors import UserError
from ..split import ClassSplit
from .accuracy import best_in, check_scores


def shift_logits(logits: torch.Tensor, split: ClassSplit, gamma: float) -> torch.Tensor:
    """Add gamma to the absent columns of (N, C) logits; returns a new tensor. Source: paper section 6."""
    return logits + gamma * (~split.seen_mask).to(logits)


@dataclass(frozen=True)
class CurvePoint:
    """The accuracies at one gamma, as fractions."""

    gamma: float
    acc_sy: float
    acc_uy: float
    acc_yy: float


@dataclass(frozen=True)
class SeenAbsentCurve:
    """Every state that a shift of the absent logits can reach.

    breakpoints : (K,) distinct finite gaps, ascending. gamma, acc_sy, acc_uy, acc_yy : (K+1,) float64; state k holds
    for gamma in (breakpoints[k-1], breakpoints[k]], and `gamma` gives one value inside each.
    """

    breakpoints: torch.Tensor
    gamma: torch.Tensor
    acc_sy: torch.Tensor
    acc_uy: torch.Tensor
    acc_yy: torch.Tensor

    @property
    def ausuc(self) -> float:
        """Area under Acc_U/Y over Acc_S/Y by trapezoids, in [0, 1]; independent of any constant on the absent logits."""
        width = self.acc_sy[:-1] - self.acc_sy[1:]
        return (width * (self.acc_uy[:-1] + self.acc_uy[1:]) / 2).sum().item()

    def point(self, state: int) -> CurvePoint:
        return CurvePoint(*(float(series[state]) for series in (self.gamma, self.acc_sy, self.acc_uy, self.acc_yy)))

    def at(self, gamma: float) -> CurvePoint:
        """The accuracies at any gamma. A sample whose gap equals gamma stays with the seen classes."""
        state = int(torch.searchsorted(self.breakpoints, torch.tensor(float(gamma), dtype=torch.float64, device=self.breakpoints.device)))
        return CurvePoint(float(gamma), *(float(series[state]) for series in (self.acc_sy, self.acc_uy, self.acc_yy)))

    def best(self) -> CurvePoint:
        """gamma*, the state of the largest Acc_Y/Y; among equals the smallest |gamma|.

        *Oracle* when the curve is made from test labels: an upper bound for scalar shifts, not a method.
        """
        top = (self.acc_yy == self.acc_yy.max()).nonzero().squeeze(1)
        return self.point(int(top[self.gamma[top].abs().argmin()]))


def seen_absent_curve(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> SeenAbsentCurve:
    """The exact seen-absent accuracy curve in O(N C + N log N).

    logits : (N, C) of any float type, on any device; labels : (N,) int64. Everything after the group maxima is
    float64. A gap of exactly 0 at gamma = 0 counts as seen, where torch's argmax would take the lower class index.
    Accuracies are NaN for a group without samples. Raises UserError for shapes or labels that do not fit and for a row
    that is -inf everywhere. Source: the curve and AUSUC of paper section 6; this way of computing it is ours.
    """
    check_scores(logits, labels, split)
    (top_s, arg_s), (top_u, arg_u) = best_in(logits, split.seen), best_in(logits, split.absent)
    gap = top_s.double() - top_u.double()
    if gap.isnan().any():
        raise UserError(f"row {int(gap.isnan().nonzero()[0])} is infinite in both groups; no shift can order it")
    seen = split.is_seen(labels)
    right_s, right_u = (arg_s == labels).long(), (arg_u == labels).long()  # each implies the group of the label

    finite = gap.isfinite()
    breakpoints, state = gap[finite].unique(return_inverse=True)
    none = torch.zeros(len(breakpoints), dtype=torch.long, device=gap.device)
    lost, won = (none.index_add(0, state, right[finite]) for right in (right_s, right_u))
    zero = none.new_zeros(1)
    hits_s = right_s[gap > -torch.inf].sum() - torch.cat([zero, lost.cumsum(0)])
    hits_u = right_u[gap == -torch.inf].sum() + torch.cat([zero, won.cumsum(0)])
    n_s, n_u = seen.sum(), (~seen).sum()
    shares = (hits.double() / n for hits, n in ((hits_s, n_s), (hits_u, n_u), (hits_s + hits_u, n_s + n_u)))
    return SeenAbsentCurve(breakpoints, between(breakpoints), *shares)


def between(breakpoints: torch.Tensor) -> torch.Tensor:
    """A gamma (K+1,) inside each state that the (K,) ascending breakpoints part: below all, midway, above all. Source: ours."""
    if not len(breakpoints):
        return breakpoints.new_zeros(1)
    low, high = breakpoints[:-1], breakpoints[1:]
    middle = low + (high - low) / 2
    middle = torch.where(middle > low, middle, high)  # neighbours with no float between them
    return torch.cat([breakpoints[:1] - 1, middle, breakpoints[-1:] + 1])


def check_fine_tuning_data(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> None:
    """The contract of estimators of gamma: rows of seen classes only, of at least two. Raises UserError."""
    check_scores(logits, labels, split)
    if not len(labels):
        raise UserError("estimating gamma needs fine-tuning data; there are no rows")
    if not split.is_seen(labels).all():
        count = int((~split.is_seen(labels)).sum())
        raise UserError(f"estimating gamma takes fine-tuning data of seen classes only; {count} rows have absent labels, drop them")
    if len(split.seen) == 1:
        raise UserError("estimating gamma needs at least two seen classes: with one there is no wrong seen logit")


def average_logit_gap(train_logits: torch.Tensor, train_labels: torch.Tensor, split: ClassSplit) -> float:
    """gamma_ALG: the mean wrong seen logit minus the mean absent logit, on the fine-tuning data.

    train_logits : (N, C) in eval mode without augmentation; train_labels : (N,) int64, all of seen classes. Raises
    UserError when a label is absent (the estimator must not see absent data) or when only one class is seen.
    Source: paper section 6, ALG.
    """
    check_fine_tuning_data(train_logits, train_labels, split)
    logits = train_logits.double()
    own = logits.gather(1, train_labels[:, None]).squeeze(1)
    wrong_seen = (logits[:, list(split.seen)].sum(1) - own) / (len(split.seen) - 1)
    return (wrong_seen.mean() - logits[:, list(split.absent)].mean()).item()


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
