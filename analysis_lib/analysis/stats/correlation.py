"""Rank correlation of a prediction with an outcome over classes, averaged over independent groups of classes."""

from collections.abc import Sequence

import torch

from ...core.errors import UserError
from ..influence.attribution import rank_correlation


def spearman_over_groups(
    predicted: Sequence[torch.Tensor],
    observed: Sequence[torch.Tensor],
    generator: torch.Generator,
    resamples: int = 2000,
) -> tuple[float, float, float]:
    """The mean over groups of Spearman's rank correlation, with its 95 % percentile interval: (mean, low, high).

    predicted, observed : for each group, such as the absent classes of one seed, two (n_g,) tensors in one order;
    entries that are NaN in either are left out. The bootstrap draws groups, and items within each. NaN if a group is
    constant or has fewer than three items. Raises UserError for groups that do not fit. Source: ours.
    """
    if not _fit_together(predicted, observed):
        raise UserError(
            "predictions and outcomes do not fit together; give two (n,) tensors for each group, and at least one group"
        )
    pairs = []
    for a, b in zip(predicted, observed):
        both = ~(a.isnan() | b.isnan())
        pairs.append((a[both].double(), b[both].double()))
    whole = torch.stack([rank_correlation(a[None], b[None])[0] for a, b in pairs]).mean()
    if min(len(a) for a, _ in pairs) < 3 or whole.isnan():
        return (float("nan"),) * 3

    def redrawn(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        rows = torch.randint(len(a), (resamples, len(a)), generator=generator)
        return rank_correlation(a[rows], b[rows])

    picks = torch.randint(len(pairs), (len(pairs), 1, resamples), generator=generator)
    drawn = []
    for pick in picks:
        correlations = torch.stack([redrawn(a, b) for a, b in pairs])  # new items for each pick of a group
        drawn.append(correlations.gather(0, pick)[0])
    means = torch.stack(drawn).mean(0)
    low, high = means.nanquantile(means.new_tensor([0.025, 0.975])).tolist()
    return whole.item(), low, high


def _fit_together(predicted: Sequence[torch.Tensor], observed: Sequence[torch.Tensor]) -> bool:
    """Whether there is at least one group, with two (n,) tensors for each."""
    if not predicted or len(predicted) != len(observed):
        return False
    return all(a.ndim == 1 and a.shape == b.shape for a, b in zip(predicted, observed))
