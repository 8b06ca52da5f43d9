"""Rank correlation of a prediction with an outcome over classes that recur over seeds."""

from collections.abc import Sequence

import torch

from ...core.errors import UserError
from ..influence.attribution import rank_correlation
from .intervals import estimate


def spearman_over_groups(
    predicted: Sequence[torch.Tensor], observed: Sequence[torch.Tensor], items: Sequence[torch.Tensor]
) -> dict[str, float | str]:
    """The mean over groups of Spearman's rank correlation, with its 95 % interval.

    predicted, observed : for each group, such as the absent classes of one seed, two (n_g,) tensors in one order, or
    two (R, n_g) of R repeats, such as splits of the images, over which the correlations are averaged. items : (n_g,)
    int64, which class each entry is; a class that is in several groups has one number in all of them, and is left out
    of all at once. Entries that are NaN in either (in any repeat) are left out.

    Returns the columns of `intervals.estimate`, with low and high cut to [-1, 1]. All are NaN if a group is constant or
    has fewer than three entries. Raises UserError for groups that do not fit. Source: ours.
    """
    if not _fit_together(predicted, observed, items):
        raise UserError(
            "predictions, outcomes and items do not fit together; give two (n,) or (repeats, n) tensors and one (n,) "
            "of class numbers for each group, and at least one group"
        )
    names = torch.cat(list(items)).unique()
    whole, without = [], []
    for a, b, item in zip(predicted, observed, items):
        a, b = (torch.atleast_2d(side.double()) for side in (a, b))
        both = ~(a.isnan() | b.isnan()).any(0)
        a, b = a[:, both], b[:, both]
        own = torch.full((len(names),), torch.nan, dtype=torch.float64)
        if len(a.T) > 2:
            own[torch.searchsorted(names, item[both])] = _without_each(a, b)
        whole.append(rank_correlation(a, b).mean() if len(a.T) > 2 else own.mean())
        without.append(own)
    found = estimate(torch.stack(whole)[:, None], torch.stack(without)[:, None])
    found[["low", "high"]] = found[["low", "high"]].clip(-1, 1)
    return found.iloc[0].to_dict()


def _without_each(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The correlation of (R, n) with (R, n), mean over rows, without each of the n columns: (n,)."""
    n = a.shape[1]
    others = torch.arange(n).expand(n, n)[~torch.eye(n, dtype=torch.bool)].view(n, n - 1)
    flat = (side[:, others].flatten(0, 1) for side in (a, b))
    return rank_correlation(*flat).view(-1, n).mean(0)


def _fit_together(
    predicted: Sequence[torch.Tensor], observed: Sequence[torch.Tensor], items: Sequence[torch.Tensor]
) -> bool:
    """Whether there is at least one group, with predictions, outcomes and class numbers that fit for each."""
    if not predicted or not len(predicted) == len(observed) == len(items):
        return False
    return all(
        a.shape == b.shape and a.ndim in (1, 2) and a.shape[-1:] == item.shape
        for a, b, item in zip(predicted, observed, items)
    )
