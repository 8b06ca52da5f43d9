"""Confidence intervals for accuracies and their differences: a paired bootstrap over test samples and seeds.

Letters: M metrics, N test samples, K seeds, R resamples. A metric is the mean of one value per sample over its group;
a sample outside the group is NaN. All seeds share the N samples in one order, but not the classes that are seen, so
the groups differ from seed to seed. All metrics use the same draw of samples and seeds, so differences are paired.

Limits of the intervals. Values that are all equal (an accuracy of exactly 0 or 1) give an interval of width 0, however
few they are. Few seeds cannot measure the spread over seeds: if seeds differ more than the samples explain, the
interval of 3 seeds is the range of their means, which covers the true value in only 3 of 4 cases; if seeds hardly
differ, it is slightly too wide.
"""

from collections.abc import Sequence

import pandas as pd
import torch

from ...core.errors import UserError, unknown


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


def bootstrap_means(
    values: Sequence[torch.Tensor],
    metrics: Sequence[str],
    generator: torch.Generator,
    resamples: int = 2000,
    clusters: torch.Tensor | None = None,
) -> pd.DataFrame:
    """The mean of every metric with its 95 % percentile interval.

    values : one (M, N) tensor for each seed, NaN if a sample is outside the metric's group; metrics : M names; clusters
    : (N,) int64, samples of one number being drawn together, such as variants of one drawing; None draws each sample
    separately. The mean is the mean of the seeds' means. Columns: metric, mean, low, high, n_samples (of the seed with
    the smallest group), n_seeds. Equal generator states and shapes give equal draws. Raises UserError for shapes that
    do not fit, names that repeat, infinite values and a metric without a sample in some seed. Source: ours.
    """
    mean, drawn, sizes = _bootstrap(values, metrics, generator, resamples, clusters)
    return _table({"metric": list(metrics)}, mean, drawn, sizes, len(values))


def bootstrap_differences(
    values: Sequence[torch.Tensor],
    metrics: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    generator: torch.Generator,
    resamples: int = 2000,
    clusters: torch.Tensor | None = None,
) -> pd.DataFrame:
    """The differences a - b of pairs of metrics with their 95 % percentile intervals.

    Both sides use the same draws, so common variation of a and b cancels; their groups may differ. pairs : names from
    `metrics`. Columns: a, b, mean, low, high, n_samples (of the smaller group), n_seeds. Otherwise as
    `bootstrap_means`; equal generator states give the same draws as there. Raises UserError also for unknown names and
    without pairs. Source: ours.
    """
    if not pairs:
        raise UserError("there are no pairs of metrics to compare; name at least one")
    place = {name: row for row, name in enumerate(metrics)}
    names_a, names_b = [a for a, _ in pairs], [b for _, b in pairs]
    for pair in pairs:
        for name in pair:
            if name not in place:
                raise unknown("metric", name, metrics)
    mean, drawn, sizes = _bootstrap(values, metrics, generator, resamples, clusters)
    a, b = [place[name] for name in names_a], [place[name] for name in names_b]
    names = {"a": names_a, "b": names_b}
    return _table(names, mean[a] - mean[b], drawn[:, a] - drawn[:, b], sizes[a].minimum(sizes[b]), len(values))


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


def _bootstrap(values, metrics, generator, resamples, clusters) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The means (M,), the resampled means (R, M) and the smallest group of each metric over the seeds (M,)."""
    n_seeds, n_metrics, n_samples = _shape(values)
    each_sample = torch.ones(1, n_samples, dtype=torch.float64)
    each_seed = torch.ones(1, n_seeds, dtype=torch.float64)
    mean = resampled_means(values, each_sample, each_seed)[0]
    if not n_metrics == len(metrics) == len(set(metrics)):
        raise UserError(f"values hold {n_metrics} metrics; expected as many different names, got {list(metrics)}")
    sizes = torch.stack([(~block.isnan()).sum(1) for block in values])
    if not sizes.all():
        seed, row = (sizes == 0).nonzero()[0].tolist()
        raise UserError(f"metric {metrics[row]!r} has no sample in seed number {seed} of the {n_seeds}; leave it out")
    clusters = torch.arange(n_samples) if clusters is None else clusters
    sample_counts, seed_counts = draw_cluster_resamples(clusters, n_seeds, generator, resamples)
    return mean, resampled_means(values, sample_counts, seed_counts), sizes.amin(0)


def _table(
    names: dict[str, list[str]], mean: torch.Tensor, drawn: torch.Tensor, sizes: torch.Tensor, n_seeds: int
) -> pd.DataFrame:
    low, high = drawn.nanquantile(drawn.new_tensor([0.025, 0.975]), dim=0)
    table = pd.DataFrame(names)
    for column, series in {"mean": mean, "low": low, "high": high, "n_samples": sizes}.items():
        table[column] = series.cpu().numpy()
    return table.assign(n_seeds=n_seeds)
