"""A paired bootstrap over test samples and seeds: the draws, and the means under them.

Letters: M metrics, N test samples, K seeds, R resamples. A metric is the mean of one value per sample over its group;
a sample outside the group is NaN. All seeds share the N samples in one order, but not the classes that are seen, so
the groups differ from seed to seed. All metrics use the same draw of samples and seeds, so differences are paired.

Limits of percentile intervals from these draws. Values that are all equal (an accuracy of exactly 0 or 1) give an
interval of width 0, however few they are. Few seeds cannot measure the spread over seeds: if seeds differ more than the
samples explain, the interval of 3 seeds is the range of their means, which covers the true value in only 3 of 4 cases.
Claims therefore use `intervals`.
"""

from collections.abc import Sequence

import torch

from ...core.errors import UserError


def draw_resamples(
    n_samples: int, n_seeds: int, generator: torch.Generator, resamples: int = 2000
) -> tuple[torch.Tensor, torch.Tensor]:
    """The number of times each test sample and each seed is drawn: (R, N) and (R, K) float64.

    Rows are multinomial counts that sum to N and to K, on the generator's device. Takes 16 R N bytes while it runs.
    Raises UserError for a number below 1. Source: Owen 2007, the pigeonhole bootstrap (both levels drawn independently,
    the design being crossed).
    """
    if min(n_samples, n_seeds, resamples) < 1:
        raise UserError(f"a bootstrap needs samples, seeds and resamples; got {n_samples}, {n_seeds} and {resamples}")

    def counts(n: int) -> torch.Tensor:
        drawn = torch.randint(n, (resamples, n), generator=generator, device=generator.device)
        one = torch.ones((), dtype=torch.float64, device=drawn.device)
        return one.new_zeros(resamples, n).scatter_add_(1, drawn, one.expand(resamples, n))

    return counts(n_samples), counts(n_seeds)


def resampled_means(
    values: Sequence[torch.Tensor], sample_counts: torch.Tensor, seed_counts: torch.Tensor
) -> torch.Tensor:
    """The mean over seeds of the mean over a metric's group, for each row of counts.

    values : K tensors (M, N), or one (K, M, N), NaN outside the group; counts : (R, N) and (R, K) from
    `draw_resamples`. Returns (R, M) float64. A seed whose group has no drawn sample is left out of that resample; NaN
    if that holds for every seed drawn. Raises UserError for shapes that do not fit and for infinite values. Source:
    ours.
    """
    n_seeds, _, n_samples = _shape(values)
    resamples = len(sample_counts)
    if sample_counts.shape != (resamples, n_samples) or seed_counts.shape != (resamples, n_seeds):
        raise UserError(
            f"counts have shapes {tuple(sample_counts.shape)} and {tuple(seed_counts.shape)}; expected "
            f"{(resamples, n_samples)} and {(resamples, n_seeds)}"
        )
    if any(block.isinf().any() for block in values):
        raise UserError("values hold infinities; a mean needs finite values, and NaN for the samples outside the group")
    device = values[0].device
    sample_counts, seed_counts = sample_counts.to(device), seed_counts.to(device)
    total = weight = 0.0
    for block, times in zip(values, seed_counts.T):
        inside = ~block.isnan()
        drawn = sample_counts @ inside.double().T
        mean = sample_counts @ torch.where(inside, block, 0).double().T / drawn.clamp(min=1)
        share = times[:, None] * (drawn > 0)
        total, weight = total + share * mean, weight + share
    return total / weight


def _shape(values: Sequence[torch.Tensor]) -> tuple[int, int, int]:
    """The numbers (K, M, N) of seeds, metrics and samples. Raises UserError if the seeds differ in shape."""
    shapes = [tuple(block.shape) for block in values]
    if len(set(shapes)) != 1 or len(shapes[0]) != 2 or 0 in shapes[0]:
        raise UserError(
            f"values have shapes {shapes}; expected one (metrics, samples) shape, without a zero, for every seed"
        )
    return len(shapes), *shapes[0]


def draw_cluster_resamples(
    clusters: torch.Tensor, n_seeds: int, generator: torch.Generator, resamples: int = 2000
) -> tuple[torch.Tensor, torch.Tensor]:
    """`draw_resamples` of whole clusters: counts (R, N) and (R, K), equal for all samples of a cluster.

    clusters : (N,) int64, samples of one number being drawn together. Rows need not sum to N. Errors as there. Source:
    the cluster bootstrap.
    """
    names, cluster = clusters.unique(return_inverse=True)
    counts, seeds = draw_resamples(len(names), n_seeds, generator, resamples)
    return counts[:, cluster], seeds
