"""One number gamma added to every absent logit: the whole trade-off it spans, and ways to choose it.

With a_i = max_S z_i, u_i = max_U z_i and gap_i = a_i - u_i, sample i is predicted absent exactly when gap_i < gamma.
So the accuracies change only at the distinct gaps, and one sort gives all of them.
"""

from dataclasses import dataclass

import torch

from ...core.class_split import ClassSplit
from ...core.errors import UserError
from ..metrics.accuracy import check_scores, max_over


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
    (top_s, arg_s), (top_u, arg_u) = max_over(logits, split.seen), max_over(logits, split.absent)
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
    return SeenAbsentCurve(breakpoints, state_midpoints(breakpoints), *shares)


def state_midpoints(breakpoints: torch.Tensor) -> torch.Tensor:
    """A gamma (K+1,) inside each state that the (K,) ascending breakpoints part: below all, midway, above all. Source: ours."""
    if not len(breakpoints):
        return breakpoints.new_zeros(1)
    low, high = breakpoints[:-1], breakpoints[1:]
    middle = low + (high - low) / 2
    middle = torch.where(middle > low, middle, high)  # neighbours with no float between them
    return torch.cat([breakpoints[:1] - 1, middle, breakpoints[-1:] + 1])
