import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis_lib import ClassSplit, UserError, accuracies, softmax_decomposition
from analysis_lib.analysis.stats.bootstrap import bootstrap_differences, bootstrap_means, draw_cluster_resamples, draw_resamples, resampled_means


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def problem(seed, n_metrics, n_samples, n_seeds):
    """Values with 0/1 and real metrics by turns, and about half of the samples outside a group that differs by seed."""
    random = generator(seed)
    values = torch.rand(n_seeds, n_metrics, n_samples, generator=random, dtype=torch.float64)
    values[:, ::2] = values[:, ::2].round()
    outside = torch.rand(values.shape, generator=random) < 0.5
    outside[..., 0] = False  # every group has a sample
    return list(values.masked_fill(outside, torch.nan)), [f"m{row}" for row in range(n_metrics)]


def by_hand(values, sample_counts, seed_counts):
    """One resample of one metric by plain loops over the drawn seeds and samples."""
    means = []
    for block, times in zip(values, seed_counts):
        drawn = [v for v, count in zip(block, sample_counts) for _ in range(int(count)) if not math.isnan(v)]
        if drawn:
            means += [sum(drawn) / len(drawn)] * int(times)
    return sum(means) / len(means) if means else math.nan


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 12), st.integers(1, 4))
def test_equals_a_plain_loop_with_the_same_counts(seed, n_metrics, n_samples, n_seeds):
    values, metrics = problem(seed, n_metrics, n_samples, n_seeds)
    counts = draw_resamples(n_samples, n_seeds, generator(seed), 30)
    loop = [[by_hand([block[m].tolist() for block in values], *(c[r].tolist() for c in counts)) for m in range(n_metrics)] for r in range(30)]
    assert resampled_means(values, *counts).numpy() == pytest.approx(np.array(loop), abs=1e-12, nan_ok=True)

    table = bootstrap_means(values, metrics, generator(seed), 30)
    assert table[["low", "high"]].to_numpy().T == pytest.approx(np.nanquantile(loop, [0.025, 0.975], axis=0), abs=1e-12)
    assert table["mean"].tolist() == pytest.approx(torch.stack(values).nanmean(2).mean(0).tolist(), abs=1e-12)
    assert table["n_samples"].tolist() == [min(int((~block[m].isnan()).sum()) for block in values) for m in range(n_metrics)]
    assert (table["n_seeds"] == n_seeds).all() and table["metric"].tolist() == metrics

    change = np.array(loop)[:, 0] - np.array(loop)[:, -1]
    row = bootstrap_differences(values, metrics, [("m0", metrics[-1])], generator(seed), 30).iloc[0]
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.nanquantile(change, [0.025, 0.975])), abs=1e-12, nan_ok=True)
    ends = table.iloc[[0, -1]]
    assert row["mean"] == pytest.approx(ends["mean"].iloc[0] - ends["mean"].iloc[1], abs=1e-12)
    assert (row["n_samples"], row["n_seeds"]) == (ends["n_samples"].min(), n_seeds)


def test_counts_are_multinomial_and_follow_the_generator():
    samples, seeds = draw_resamples(50, 3, generator(), 20_000)
    assert (samples.sum(1) == 50).all() and (seeds.sum(1) == 3).all()
    assert samples.mean(0).tolist() == pytest.approx([1] * 50, abs=5 * 20_000**-0.5)
    assert samples.var(0).mean().item() == pytest.approx(1 - 1 / 50, abs=0.01)
    assert torch.corrcoef(torch.stack([samples[:, 0], seeds[:, 0]]))[0, 1].item() == pytest.approx(0, abs=5 * 20_000**-0.5)
    assert (seeds.max(1).values == 3).double().mean().item() == pytest.approx(1 / 9, abs=5 * (8 / 81 / 20_000) ** 0.5)
    again, other = draw_resamples(50, 3, generator(), 20_000), draw_resamples(50, 3, generator(1), 20_000)
    assert torch.equal(samples, again[0]) and torch.equal(seeds, again[1]) and not torch.equal(samples, other[0])


def coverage(table, truth):
    return ((table["low"] <= truth) & (truth <= table["high"])).mean()


def test_intervals_of_one_seed_cover_the_truth_in_95_of_100_cases():
    """Each metric is a data set of its own, so one call is the whole simulation; four standard errors of 2,000 cases."""
    n_sets, n, random = 2000, 300, generator(1)
    margin = 4 * (0.95 * 0.05 / n_sets) ** 0.5
    group = torch.rand(n_sets, n, generator=random) < 0.6
    before = torch.randn(n_sets, n, generator=random, dtype=torch.float64)
    after = (0.3 + 0.8 * before + 0.6 * torch.randn(n_sets, n, generator=random, dtype=torch.float64)).masked_fill(~group, torch.nan)
    right = (torch.rand(n_sets, n, generator=random) < 0.7).double().masked_fill(~group, torch.nan)
    names = [str(row) for row in range(n_sets)]
    assert coverage(bootstrap_means([before], names, generator()), 0) == pytest.approx(0.95, abs=margin)
    assert coverage(bootstrap_means([right], names, generator()), 0.7) == pytest.approx(0.95, abs=margin)
    both = torch.cat([after[:1000], before[:1000].masked_fill(~group[:1000], torch.nan)])
    table = bootstrap_differences([both], names, list(zip(names[:1000], names[1000:])), generator())
    assert coverage(table, 0.3) == pytest.approx(0.95, abs=margin * 2**0.5)


def test_many_seeds_cover_the_truth_too():
    """Crossed effects of samples and seeds; many seeds, as few are known to cover less (next test)."""
    n_sets, n, n_seeds, random = 1000, 60, 30, generator(2)
    sample, seed = (torch.randn(shape, generator=random, dtype=torch.float64) for shape in ((1, n_sets, n), (n_seeds, n_sets, 1)))
    noise = torch.randn(n_seeds, n_sets, n, generator=random, dtype=torch.float64)
    table = bootstrap_means(list(sample + 0.7 * seed + noise), [str(row) for row in range(n_sets)], generator(), 1000)
    assert coverage(table, 0) == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / n_sets) ** 0.5)


def test_three_seeds_that_explain_all_give_the_range_of_their_means():
    """The warning of the module: [smallest, largest] of 3 covers the median in 1 - 2 / 2**3 of the cases."""
    level = torch.randn(3, 2000, generator=generator(3), dtype=torch.float64)
    table = bootstrap_means(list(level[..., None].expand(-1, -1, 5)), [str(row) for row in range(2000)], generator())
    assert table["low"].tolist() == pytest.approx(level.amin(0).tolist()) and table["high"].tolist() == pytest.approx(level.amax(0).tolist())
    assert coverage(table, 0) == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / 2000) ** 0.5)


def test_seeds_that_agree_add_nothing_to_the_sample_draw():
    """All seeds share one draw of samples: three copies of a seed are as uncertain as one, not a third of it."""
    values, _ = problem(4, 3, 40, 1)
    samples, seeds = draw_resamples(40, 3, generator(), 200)
    alone = resampled_means(values, samples, torch.ones(200, 1, dtype=torch.float64))
    assert torch.allclose(resampled_means(values * 3, samples, seeds), alone, rtol=0, atol=1e-12)


def test_a_metric_minus_its_copy_is_zero():
    values, _ = problem(5, 1, 80, 3)
    twice = [block.repeat(2, 1) for block in values]
    table = bootstrap_differences(twice, ["a", "b"], [("a", "b"), ("a", "a")], generator())
    assert (table[["mean", "low", "high"]] == 0).all(axis=None)


def test_pairing_narrows_the_interval_as_much_as_the_correlation_says():
    n, rho, random = 400, 0.9, generator(6)
    common, own = torch.randn(2, n, generator=random, dtype=torch.float64)
    values = torch.stack([common, rho * common + (1 - rho**2) ** 0.5 * own])
    row = bootstrap_differences([values], ["a", "b"], [("a", "b")], generator()).iloc[0]
    apart = [resampled_means([values[m : m + 1]], *draw_resamples(n, 1, generator(m)))[:, 0] for m in (0, 1)]
    low, high = (apart[0] - apart[1]).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    spread, covariance = values.var(1).sum().item(), torch.cov(values)[0, 1].item()
    assert (row["high"] - row["low"]) / (high - low) == pytest.approx((1 - 2 * covariance / spread) ** 0.5, rel=0.1)
    assert row["high"] - row["low"] < 0.5 * (high - low)


def test_agrees_with_scipy():
    values, metrics = problem(7, 4, 250, 1)
    resamples = 10_000
    rows = values[0].numpy()

    def assert_agrees(row, data, statistic):
        reference = stats.bootstrap(data, statistic, n_resamples=resamples, paired=True, vectorized=True, method="percentile", random_state=0, batch=1000)
        margin = 4 * 2**0.5 * (0.025 * 0.975 / resamples) ** 0.5 / stats.norm.pdf(1.96) * reference.standard_error  # of two estimated quantiles
        assert (row["low"], row["high"]) == pytest.approx(tuple(reference.confidence_interval), abs=margin)

    for m, row in bootstrap_means(values, metrics, generator(), resamples).iterrows():
        assert_agrees(row, (rows[m],), lambda v, axis: np.nanmean(v, axis))
    pairs = [("m0", "m2"), ("m1", "m3")]
    for (a, b), (_, row) in zip(pairs, bootstrap_differences(values, metrics, pairs, generator(), resamples).iterrows()):
        data = rows[metrics.index(a)], rows[metrics.index(b)]
        assert_agrees(row, data, lambda v, w, axis: np.nanmean(v, axis) - np.nanmean(w, axis))


def test_the_order_of_samples_and_of_seeds_does_not_matter_under_the_same_counts():
    values, _ = problem(8, 5, 70, 3)
    samples, seeds = draw_resamples(70, 3, generator(), 100)
    order, turn = torch.randperm(70, generator=generator(9)), [2, 0, 1]
    moved = resampled_means([values[k][:, order] for k in turn], samples[:, order], seeds[:, turn])
    assert torch.allclose(moved, resampled_means(values, samples, seeds), rtol=0, atol=1e-12)


def test_the_means_are_the_projects_own_numbers():
    random, n, num_classes = generator(10), 200, 6
    logits, labels = torch.randn(n, num_classes, generator=random), torch.randint(num_classes, (n,), generator=random)
    splits = [ClassSplit(num_classes, seen) for seen in ([0, 1, 2], [2, 3], [5])]

    def one_seed(split):
        right, seen, part = (logits.argmax(1) == labels).double(), split.is_seen(labels), softmax_decomposition(logits, labels, split)
        return torch.stack([right, right.where(seen, torch.nan), right.where(~seen, torch.nan), part.p_absent.where(~seen, torch.nan)])

    names = ["acc_yy", "acc_sy", "acc_uy", "p_absent_u"]
    table = bootstrap_means([one_seed(split) for split in splits], names, generator(), 50).set_index("metric")
    truth = [accuracies(logits, labels, split) | softmax_decomposition(logits, labels, split).summary() for split in splits]
    for name in names:
        assert table["mean"][name] == pytest.approx(sum(row[name] for row in truth) / 3)
        assert table["low"][name] < table["mean"][name] < table["high"][name]


def test_says_what_does_not_fit():
    values, metrics = problem(0, 2, 5, 2)
    for bad in ([], [values[0], values[1][:, :4]], values[0], values[0][0], [values[0][:, :0]], [values[0][:0]]):
        with pytest.raises(UserError, match="expected one .metrics, samples. shape, without a zero, for every seed"):
            bootstrap_means(bad, metrics, generator())
    for names in (["m0"], ["m0", "m0"]):
        with pytest.raises(UserError, match="values hold 2 metrics"):
            bootstrap_means(values, names, generator())
    with pytest.raises(UserError, match="did you mean 'm1'"):
        bootstrap_differences(values, metrics, [("m0", "m1x")], generator())
    with pytest.raises(UserError, match="no pairs of metrics"):
        bootstrap_differences(values, metrics, [], generator())
    with pytest.raises(UserError, match="infinities"):
        bootstrap_means([values[0], values[1] / 0], metrics, generator())
    empty = values[1].clone()
    empty[1] = torch.nan
    with pytest.raises(UserError, match="metric 'm1' has no sample in seed number 1 of the 2"):
        bootstrap_means([values[0], empty], metrics, generator())
    with pytest.raises(UserError, match="needs samples, seeds and resamples; got 5, 2 and 0"):
        bootstrap_means(values, metrics, generator(), 0)
    with pytest.raises(UserError, match="counts have shapes"):
        resampled_means(values, *draw_resamples(5, 1, generator(), 10))


def test_samples_of_one_unit_are_drawn_together(random):
    """Twins bring no information: the interval of pairs of equal samples is that of one of each, as wide as half the data."""
    values = torch.randn(1, 100, generator=random, dtype=torch.float64)
    twins = values.repeat_interleave(2, 1)
    units = torch.arange(100).repeat_interleave(2) * 7
    one = bootstrap_means([values], ["m"], torch.Generator().manual_seed(1))
    both = bootstrap_means([twins], ["m"], torch.Generator().manual_seed(1), clusters=units)
    assert both[["mean", "low", "high"]].iloc[0].tolist() == pytest.approx(one[["mean", "low", "high"]].iloc[0].tolist())
    naive = bootstrap_means([twins], ["m"], torch.Generator().manual_seed(1))
    assert naive.iloc[0]["high"] - naive.iloc[0]["low"] < 0.85 * (one.iloc[0]["high"] - one.iloc[0]["low"])
    counts, seeds = draw_cluster_resamples(units, 3, random, resamples=50)
    assert torch.equal(counts[:, ::2], counts[:, 1::2]) and (counts[:, ::2].sum(1) == 100).all() and (seeds.sum(1) == 3).all()
