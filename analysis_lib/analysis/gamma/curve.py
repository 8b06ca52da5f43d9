"""The seen-absent curve: the accuracies for every constant gamma added to the absent logits.

With a_i = max_S z_i, u_i = max_U z_i and gap_i = a_i - u_i, sample i is predicted absent exactly when gap_i < gamma.
So the accuracies change only at the distinct gaps, and sorting the gaps once gives all of them.
"""

from dataclasses import dataclass

import torch

from ...core.class_split import ClassSplit
from ...core.errors import UserError
from ..chunks import by_rows
from ..metrics.accuracy import check_scores, max_over, right_among, shares_right


def shift_logits(logits: torch.Tensor, split: ClassSplit, gamma: float) -> torch.Tensor:
    """Add gamma to the absent columns of (N, C) logits; returns a new tensor. Source: paper section 6."""
    return logits + gamma * (~split.seen_mask).to(logits)


def shifted_predictions(logits: torch.Tensor, split: ClassSplit, gamma: float) -> torch.Tensor:
    """The predicted classes (N,) of `shift_logits`, which is computed for some rows at a time."""
    return by_rows(lambda some: shift_logits(some, split, gamma).argmax(1), logits)


def shifted_accuracies(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit, gamma: float) -> dict[str, float]:
    """`accuracies` of `shift_logits`, which is computed for some rows at a time. Raises UserError as `accuracies`."""
    check_scores(logits, labels, split)
    right = by_rows(lambda some, own: right_among(shift_logits(some, split, gamma), own, split), logits, labels)
    return shares_right(right, labels, split)


@dataclass(frozen=True)
class CurvePoint:
    """The accuracies at one gamma, as fractions."""

    gamma: float
    acc_sy: float
    acc_uy: float
    acc_yy: float


@dataclass(frozen=True)
class SeenAbsentCurve:
    """The accuracies of all K+1 states that a shift of the absent logits can reach.

    State k holds for gamma in (breakpoints[k-1], breakpoints[k]].

    breakpoints (K,) : the distinct finite gaps, ascending.
    gamma (K+1,) : one value inside each state.
    acc_sy, acc_uy, acc_yy (K+1,) : float64, fractions.
    """

    breakpoints: torch.Tensor
    gamma: torch.Tensor
    acc_sy: torch.Tensor
    acc_uy: torch.Tensor
    acc_yy: torch.Tensor

    @property
    def ausuc(self) -> float:
        """Area under the curve of Acc_U/Y over Acc_S/Y by trapezoids, in [0, 1]; the same for any shift."""
        width = self.acc_sy[:-1] - self.acc_sy[1:]
        return (width * (self.acc_uy[:-1] + self.acc_uy[1:]) / 2).sum().item()

    def point(self, state: int) -> CurvePoint:
        """The accuracies of one state, and a gamma inside it."""
        return self._point(self.gamma[state], state)

    def at(self, gamma: float) -> CurvePoint:
        """The accuracies at any gamma. A sample whose gap equals gamma stays with the seen classes."""
        wanted = torch.tensor(float(gamma), dtype=torch.float64, device=self.breakpoints.device)
        return self._point(gamma, int(torch.searchsorted(self.breakpoints, wanted)))

    def _point(self, gamma: float, state: int) -> CurvePoint:
        return CurvePoint(
            gamma=float(gamma),
            acc_sy=float(self.acc_sy[state]),
            acc_uy=float(self.acc_uy[state]),
            acc_yy=float(self.acc_yy[state]),
        )

    def best(self, absent_share: float | None = None) -> CurvePoint:
        """The accuracies at gamma*, the state of the largest Acc_Y/Y; among equals the smallest |gamma|.

        absent_share : in place of Acc_Y/Y, the accuracy where this share of samples is absent, `accuracy_at_share`.
        *Oracle* if the curve is computed from test labels: an upper bound for scalar shifts, not a method.
        """
        accuracy = self.acc_yy if absent_share is None else accuracy_at_share(self, absent_share)
        top = (accuracy == accuracy.max()).nonzero().squeeze(1)
        return self.point(int(top[self.gamma[top].abs().argmin()]))


def accuracy_at_share(found: CurvePoint | SeenAbsentCurve, absent_share: float) -> float | torch.Tensor:
    """The accuracy over all classes where a share of the samples is absent: of one gamma, or (K+1,) of every state.

    It is (1 - share) Acc_S/Y + share Acc_U/Y. Source: ours.
    """
    return (1 - absent_share) * found.acc_sy + absent_share * found.acc_uy


def seen_absent_curve(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> SeenAbsentCurve:
    """The exact seen-absent accuracy curve in O(N C + N log N).

    logits : (N, C) of any float type, on any device; labels : (N,) int64. All computation after the group maxima is in
    float64. A gap of exactly 0 at gamma = 0 counts as seen, where torch's argmax would take the lower class index.
    Accuracies are NaN for a group without samples. Raises UserError for shapes or labels that do not fit and for a row
    that is -inf everywhere. Source: the curve and AUSUC of paper section 6; this way of computing it is ours.
    """
    check_scores(logits, labels, split)
    top_s, arg_s = max_over(logits, split.seen)
    top_u, arg_u = max_over(logits, split.absent)
    gap = top_s.double() - top_u.double()
    if gap.isnan().any():
        raise UserError(f"row {int(gap.isnan().nonzero()[0])} is infinite in both groups; no shift can order it")
    seen = split.is_seen(labels)
    right_s = (arg_s == labels).long()  # 1 implies a seen label
    right_u = (arg_u == labels).long()  # 1 implies an absent label

    finite = gap.isfinite()
    breakpoints, state = gap[finite].unique(return_inverse=True)
    none = torch.zeros(len(breakpoints), dtype=torch.long, device=gap.device)
    lost = none.index_add(0, state, right_s[finite])
    won = none.index_add(0, state, right_u[finite])
    zero = none.new_zeros(1)
    hits_s = right_s[gap > -torch.inf].sum() - torch.cat([zero, lost.cumsum(0)])
    hits_u = right_u[gap == -torch.inf].sum() + torch.cat([zero, won.cumsum(0)])
    n_s, n_u = seen.sum(), (~seen).sum()
    return SeenAbsentCurve(
        breakpoints=breakpoints,
        gamma=state_midpoints(breakpoints),
        acc_sy=hits_s.double() / n_s,
        acc_uy=hits_u.double() / n_u,
        acc_yy=(hits_s + hits_u).double() / (n_s + n_u),
    )


def best_gamma(
    seen_gaps: torch.Tensor, seen_weights: torch.Tensor, absent_gaps: torch.Tensor, absent_weights: torch.Tensor
) -> float:
    """The gamma of the largest total weight of samples that are right, in O(N log N); among equals the smallest.

    seen_gaps, seen_weights (N,) : samples that are right while gamma is at most their gap, and what they count.
    absent_gaps, absent_weights (M,) : samples that are right once gamma exceeds their gap, and what they count.
    Source: ours.
    """
    breakpoints, state = torch.cat([seen_gaps, absent_gaps]).unique(return_inverse=True)
    change = torch.zeros_like(breakpoints).index_add(0, state, torch.cat([-seen_weights, absent_weights]))
    best = torch.cat([change.new_zeros(1), change.cumsum(0)]).argmax()
    return state_midpoints(breakpoints)[best].item()


def state_midpoints(breakpoints: torch.Tensor) -> torch.Tensor:
    """One gamma inside each state, (K+1,), from the (K,) ascending breakpoints.

    Below the first breakpoint, midway between neighbours, above the last. Source: ours.
    """
    if not len(breakpoints):
        return breakpoints.new_zeros(1)
    low, high = breakpoints[:-1], breakpoints[1:]
    middle = low + (high - low) / 2
    middle = torch.where(middle > low, middle, high)  # neighbours with no float between them
    return torch.cat([breakpoints[:1] - 1, middle, breakpoints[-1:] + 1])


def ausuc_parts(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> torch.Tensor:
    """What each sample adds to AUSUC, (N,) float64: its mean over S, and its mean over U, are the area.

    AUSUC is the share of pairs of a seen and an absent sample that are both right within their groups and whose seen
    gap is the larger, a tie counting half. A sample's part is that share over the pairs it is in, so the mean over the
    seen samples without those of one class is the area without that class, and alike for absent ones. Raises UserError
    as `seen_absent_curve`. Source: ours; for the area under a ROC curve, DeLong, DeLong and Clarke-Pearson 1988.
    """
    check_scores(logits, labels, split)
    top_s, arg_s = max_over(logits, split.seen)
    top_u, arg_u = max_over(logits, split.absent)
    gap, seen = top_s.double() - top_u.double(), split.is_seen(labels)
    right_s, right_u = (arg_s == labels) & gap.isfinite(), arg_u == labels

    def share_below(own: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        ordered = others.sort().values
        sides = torch.searchsorted(ordered, own), torch.searchsorted(ordered, own, right=True)
        return (sides[0] + sides[1]).double() / 2

    parts = torch.zeros_like(gap)
    parts[right_s] = share_below(gap[right_s], gap[right_u]) / (~seen).sum()
    parts[right_u] = share_below(-gap[right_u], -gap[right_s]) / seen.sum()
    return parts
