import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis_lib import ClassSplit, UserError, accuracies, softmax_decomposition
from analysis_lib.analysis.stats.bootstrap import draw_cluster_resamples, draw_resamples, resampled_means


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def problem(seed, n_metrics, n_samples, n_seeds):
    """Values with 0/1 and real metrics by turns, and about half of the samples outside a group that differs by seed."""
    random = generator(seed)
    values = torch.rand(n_seeds, n_metrics, n_samples, generator=random, dtype=torch.float64)
    values[:, ::2] = values[:, ::2].round()
    outside = torch.rand(values.shape, generator=random) < 0.5
    outside[..., 0] = False  # every group has a sample
    return list(values.masked_fill(outside, torch.nan))


def by_hand(values, sample_counts, seed_counts):
    """One resample of one metric by plain loops over the drawn seeds and samples."""
    means = []
    for block, times in zip(values, seed_counts):
        drawn = [v for v, count in zip(block, sample_counts) for _ in range(int(count)) if not math.isnan(v)]
        if drawn:
            means += [sum(drawn) / len(drawn)] * int(times)
    return sum(means) / len(means) if means else math.nan


def percentiles(drawn):
    """The ends of the 95 % percentile intervals of (R, M) resamples, (2, M)."""
    return drawn.nanquantile(drawn.new_tensor([0.025, 0.975]), dim=0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 12), st.integers(1, 4))
def test_equals_a_plain_loop_with_the_same_counts(seed, n_metrics, n_samples, n_seeds):
    values = problem(seed, n_metrics, n_samples, n_seeds)
    counts = draw_resamples(n_samples, n_seeds, generator(seed), 30)
    loop = [
        [by_hand([block[m].tolist() for block in values], *(c[r].tolist() for c in counts)) for m in range(n_metrics)]
        for r in range(30)
    ]
    assert resampled_means(values, *counts).numpy() == pytest.approx(np.array(loop), abs=1e-12, nan_ok=True)


def test_counts_are_multinomial_and_follow_the_generator():
    samples, seeds = draw_resamples(50, 3, generator(), 20_000)
    assert (samples.sum(1) == 50).all() and (seeds.sum(1) == 3).all()
    assert samples.mean(0).tolist() == pytest.approx([1] * 50, abs=5 * 20_000**-0.5)
    assert samples.var(0).mean().item() == pytest.approx(1 - 1 / 50, abs=0.01)
    assert torch.corrcoef(torch.stack([samples[:, 0], seeds[:, 0]]))[0, 1].item() == pytest.approx(
        0, abs=5 * 20_000**-0.5
    )
    assert (seeds.max(1).values == 3).double().mean().item() == pytest.approx(1 / 9, abs=5 * (8 / 81 / 20_000) ** 0.5)
    again, other = draw_resamples(50, 3, generator(), 20_000), draw_resamples(50, 3, generator(1), 20_000)
    assert torch.equal(samples, again[0]) and torch.equal(seeds, again[1]) and not torch.equal(samples, other[0])


def coverage(ends, truth):
    return ((ends[0] <= truth) & (truth <= ends[1])).double().mean().item()


def test_intervals_of_one_seed_cover_the_truth_in_95_of_100_cases():
    """Each metric is a data set of its own, so one call is the whole simulation; four standard errors of 2,000
    cases.
    """
    n_sets, n, random = 2000, 300, generator(1)
    margin = 4 * (0.95 * 0.05 / n_sets) ** 0.5
    group = torch.rand(n_sets, n, generator=random) < 0.6
    before = torch.randn(n_sets, n, generator=random, dtype=torch.float64)
    noise = torch.randn(n_sets, n, generator=random, dtype=torch.float64)
    after = (0.3 + 0.8 * before + 0.6 * noise).masked_fill(~group, torch.nan)
    right = (torch.rand(n_sets, n, generator=random) < 0.7).double().masked_fill(~group, torch.nan)
    counts = draw_resamples(n, 1, generator())
    drawn = {name: resampled_means([part], *counts) for name, part in (("right", right), ("after", after))}
    drawn["before"] = resampled_means([before.masked_fill(~group, torch.nan)], *counts)
    assert coverage(percentiles(drawn["before"]), 0) == pytest.approx(0.95, abs=margin)
    assert coverage(percentiles(drawn["right"]), 0.7) == pytest.approx(0.95, abs=margin)
    assert coverage(percentiles(drawn["after"] - drawn["before"]), 0.3) == pytest.approx(0.95, abs=margin)


def test_many_seeds_cover_the_truth_too():
    """Crossed effects of samples and seeds; many seeds, as few are known to cover less (next test)."""
    n_sets, n, n_seeds, random = 1000, 60, 30, generator(2)
    sample, seed = (
        torch.randn(shape, generator=random, dtype=torch.float64) for shape in ((1, n_sets, n), (n_seeds, n_sets, 1))
    )
    noise = torch.randn(n_seeds, n_sets, n, generator=random, dtype=torch.float64)
    drawn = resampled_means(list(sample + 0.7 * seed + noise), *draw_resamples(n, n_seeds, generator(), 1000))
    assert coverage(percentiles(drawn), 0) == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / n_sets) ** 0.5)


def test_three_seeds_that_explain_all_give_the_range_of_their_means():
    """The warning of the module: [smallest, largest] of 3 covers the median in 1 - 2 / 2**3 of the cases."""
    level = torch.randn(3, 2000, generator=generator(3), dtype=torch.float64)
    ends = percentiles(resampled_means(list(level[..., None].expand(-1, -1, 5)), *draw_resamples(5, 3, generator())))
    assert torch.allclose(ends, torch.stack([level.amin(0), level.amax(0)]))
    assert coverage(ends, 0) == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / 2000) ** 0.5)


def test_seeds_that_agree_add_nothing_to_the_sample_draw():
    """All seeds share one draw of samples: three copies of a seed are as uncertain as one, not a third of it."""
    values = problem(4, 3, 40, 1)
    samples, seeds = draw_resamples(40, 3, generator(), 200)
    alone = resampled_means(values, samples, torch.ones(200, 1, dtype=torch.float64))
    assert torch.allclose(resampled_means(values * 3, samples, seeds), alone, rtol=0, atol=1e-12)


def test_pairing_narrows_the_interval_as_much_as_the_correlation_says():
    n, rho, random = 400, 0.9, generator(6)
    common, own = torch.randn(2, n, generator=random, dtype=torch.float64)
    values = torch.stack([common, rho * common + (1 - rho**2) ** 0.5 * own])
    paired = resampled_means([values], *draw_resamples(n, 1, generator()))
    together = percentiles(paired[:, :1] - paired[:, 1:]).diff(dim=0).item()
    first, second = (resampled_means([values[m : m + 1]], *draw_resamples(n, 1, generator(m))) for m in (0, 1))
    apart = percentiles(first - second).diff(dim=0).item()
    spread, covariance = values.var(1).sum().item(), torch.cov(values)[0, 1].item()
    assert together / apart == pytest.approx((1 - 2 * covariance / spread) ** 0.5, rel=0.1)
    assert together < 0.5 * apart


def test_agrees_with_scipy():
    values, resamples = problem(7, 4, 250, 1), 10_000
    rows = values[0].numpy()
    drawn = resampled_means(values, *draw_resamples(250, 1, generator(), resamples))

    def assert_agrees(drawn, data, statistic):
        reference = stats.bootstrap(
            data,
            statistic,
            n_resamples=resamples,
            paired=True,
            vectorized=True,
            method="percentile",
            random_state=0,
            batch=1000,
        )
        # of two estimated quantiles
        margin = 4 * 2**0.5 * (0.025 * 0.975 / resamples) ** 0.5 / stats.norm.pdf(1.96) * reference.standard_error
        assert percentiles(drawn).tolist() == pytest.approx(list(reference.confidence_interval), abs=margin)

    for m in range(4):
        assert_agrees(drawn[:, m], (rows[m],), lambda v, axis: np.nanmean(v, axis))
    for a, b in ((0, 2), (1, 3)):
        difference = drawn[:, a] - drawn[:, b]
        assert_agrees(difference, (rows[a], rows[b]), lambda v, w, axis: np.nanmean(v, axis) - np.nanmean(w, axis))


def test_the_order_of_samples_and_of_seeds_does_not_matter_under_the_same_counts():
    values = problem(8, 5, 70, 3)
    samples, seeds = draw_resamples(70, 3, generator(), 100)
    order, turn = torch.randperm(70, generator=generator(9)), [2, 0, 1]
    moved = resampled_means([values[k][:, order] for k in turn], samples[:, order], seeds[:, turn])
    assert torch.allclose(moved, resampled_means(values, samples, seeds), rtol=0, atol=1e-12)


def test_the_means_are_the_projects_own_numbers():
    random, n, num_classes = generator(10), 200, 6
    logits, labels = torch.randn(n, num_classes, generator=random), torch.randint(num_classes, (n,), generator=random)
    splits = [ClassSplit(num_classes, seen) for seen in ([0, 1, 2], [2, 3], [5])]

    def one_seed(split):
        right, seen, part = (
            (logits.argmax(1) == labels).double(),
            split.is_seen(labels),
            softmax_decomposition(logits, labels, split),
        )
        return torch.stack(
            [right, right.where(seen, torch.nan), right.where(~seen, torch.nan), part.p_absent.where(~seen, torch.nan)]
        )

    names = ["acc_yy", "acc_sy", "acc_uy", "p_absent_u"]
    values = [one_seed(split) for split in splits]
    once = (torch.ones(1, size, dtype=torch.float64) for size in (n, 3))
    means = resampled_means(values, *once)[0].tolist()
    truth = [
        accuracies(logits, labels, split) | softmax_decomposition(logits, labels, split).summary() for split in splits
    ]
    for name, mean in zip(names, means):
        assert mean == pytest.approx(sum(row[name] for row in truth) / 3)


def test_says_what_does_not_fit():
    values, counts = problem(0, 2, 5, 2), draw_resamples(5, 2, generator(), 10)
    for bad in ([], [values[0], values[1][:, :4]], values[0], values[0][0], [values[0][:, :0]], [values[0][:0]]):
        with pytest.raises(UserError, match="expected one .metrics, samples. shape, without a zero, for every seed"):
            resampled_means(bad, *counts)
    with pytest.raises(UserError, match="infinities"):
        resampled_means([values[0], values[1] / 0], *counts)
    for numbers in ((0, 2, 10), (5, 0, 10)):
        with pytest.raises(UserError, match="needs samples, seeds and resamples; got"):
            draw_resamples(*numbers[:2], generator(), numbers[2])
    with pytest.raises(UserError, match="needs samples, seeds and resamples; got 5, 2 and 0"):
        draw_resamples(5, 2, generator(), 0)
    with pytest.raises(UserError, match="counts have shapes"):
        resampled_means(values, *draw_resamples(5, 1, generator(), 10))


def test_samples_of_one_cluster_are_drawn_together(random):
    """Twins bring no information: the draws of pairs of equal samples are those of one of each."""
    values = torch.randn(1, 100, generator=random, dtype=torch.float64)
    clusters = torch.arange(100).repeat_interleave(2) * 7
    one = resampled_means([values], *draw_cluster_resamples(torch.arange(100), 1, generator()))
    both = resampled_means([values.repeat_interleave(2, 1)], *draw_cluster_resamples(clusters, 1, generator()))
    assert torch.allclose(one, both, rtol=0, atol=1e-12)
    counts, seeds = draw_cluster_resamples(clusters, 3, random, resamples=50)
    assert torch.equal(counts[:, ::2], counts[:, 1::2]) and len(counts) == len(seeds) == 50
    assert (counts[:, ::2].sum(1) == 100).all() and (seeds.sum(1) == 3).all()
