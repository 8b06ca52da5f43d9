import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis_lib import UserError
from analysis_lib.analysis.stats.bootstrap import draw_resamples, resampled_means
from analysis_lib.analysis.stats.intervals import ERRORS, estimate, half_width, leave_one_out, over_seeds_only, p_values


def problem(seed, n_metrics, n_seeds, n_classes, n_each):
    """Random values of classes with different numbers of samples; each metric and seed lacks some classes."""
    random = torch.Generator().manual_seed(seed)
    classes = torch.arange(n_classes).repeat_interleave(n_each)[1:] * 3  # the first class has a sample less
    values = torch.randn(n_seeds, n_metrics, len(classes), generator=random, dtype=torch.float64)
    order = torch.rand(n_seeds, n_metrics, n_classes, generator=random).argsort(2)
    absent = order >= max(2, n_classes - 2)
    return list(values.masked_fill(absent[:, :, classes // 3], torch.nan)), classes


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 4), st.integers(2, 7), st.integers(2, 3))
def test_equals_the_jackknife_by_loops(seed, n_metrics, n_seeds, n_classes, n_each):
    values, classes = problem(seed, n_metrics, n_seeds, n_classes, n_each)
    table = estimate(*leave_one_out(values, classes))
    for metric, row in table.iterrows():
        series = [
            pd.Series(block[metric].numpy(), index=classes.numpy()).dropna() for block in values
        ]  # one for each seed
        means = np.array([s.mean() for s in series])
        n = min(s.index.nunique() for s in series)
        changes = []
        for c in classes.unique().tolist():
            left = [s[s.index != c].mean() if c in s.index else s.mean() for s in series]
            changes.append(np.mean(left) - means.mean())
        class_error = math.sqrt((n - 1) / n * np.sum(np.square(changes)))
        half = stats.t.ppf(0.975, n - 1) * class_error
        if n_seeds > 1:
            half = math.hypot(half, stats.t.ppf(0.975, n_seeds - 1) * means.std(ddof=1) / math.sqrt(n_seeds))
        assert [row["mean"], row["class_error"], row["class_df"]] == pytest.approx([means.mean(), class_error, n - 1])
        assert (row["low"], row["high"]) == pytest.approx((means.mean() - half, means.mean() + half))
        assert row["interval"] == ("seeds and classes" if n_seeds > 1 else "classes")


def test_one_sample_of_each_class_and_one_seed_is_the_t_interval(random):
    values = torch.randn(2, 30, generator=random, dtype=torch.float64)
    table = estimate(*leave_one_out([values], torch.arange(30)))
    for metric, row in table.iterrows():
        known = stats.ttest_1samp(values[metric].numpy(), 0).confidence_interval()
        assert (row["low"], row["high"]) == pytest.approx((known.low, known.high))


def test_numbers_without_classes_have_the_t_interval_over_seeds(random):
    whole = torch.randn(4, 3, generator=random, dtype=torch.float64)
    table = estimate(whole)
    means = pd.DataFrame({"mean": whole.mean(0), "std": whole.std(0), "n": 4})
    pd.testing.assert_frame_equal(over_seeds_only(means.assign(name="a"))[table.columns], table)
    for number, row in table.iterrows():
        known = stats.ttest_1samp(whole[:, number].numpy(), 0).confidence_interval()
        assert (row["low"], row["high"]) == pytest.approx((known.low, known.high)) and row["interval"] == "seeds"
    alone = estimate(whole[:1]).iloc[0]
    assert math.isnan(alone["low"]) and alone["interval"] == ""


def test_drawings_of_a_class_that_agree_bring_no_information(random):
    """Twins leave the interval as it is; classes of their own make it narrower."""
    values = [torch.randn(1, 20, generator=random, dtype=torch.float64) for _ in range(3)]
    twins = [block.repeat_interleave(2, 1) for block in values]
    one = estimate(*leave_one_out(values, torch.arange(20)))
    both = estimate(*leave_one_out(twins, torch.arange(20).repeat_interleave(2)))
    pd.testing.assert_frame_equal(one, both)
    naive = estimate(*leave_one_out(twins, torch.arange(40)))
    assert naive["class_error"].item() < 0.8 * one["class_error"].item()


def test_seeds_that_agree_add_nothing(random):
    """All seeds share the classes: three copies of a seed are as uncertain as one, not a third of it."""
    [block], classes = problem(4, 2, 1, 8, 3)
    table, alone = (estimate(*leave_one_out([block] * k, classes)) for k in (3, 1))
    assert table["seed_error"].tolist() == pytest.approx([0, 0], abs=1e-15)
    assert table["low"].tolist() == pytest.approx(alone["low"].tolist())


def test_the_order_of_samples_and_seeds_and_the_scale_do_not_matter(random):
    values, classes = problem(5, 2, 3, 6, 3)
    table = estimate(*leave_one_out(values, classes))
    order = torch.randperm(len(classes), generator=random)
    moved = estimate(*leave_one_out([values[k][:, order] for k in (2, 0, 1)], classes[order]))
    pd.testing.assert_frame_equal(moved, table)
    scaled = estimate(*leave_one_out([1 - 100 * block for block in values], classes))
    assert scaled["low"].tolist() == pytest.approx((1 - 100 * table["high"]).tolist())


def test_p_values_belong_to_the_intervals(random):
    whole = torch.randn(5, 4, generator=random, dtype=torch.float64) + 1
    known = [stats.ttest_1samp(whole[:, number].numpy(), 0.2).pvalue for number in range(4)]
    assert p_values(estimate(whole), 0.2) == pytest.approx(known, abs=1e-12)
    values, classes = problem(6, 3, 3, 7, 3)
    table = estimate(*leave_one_out(values, classes))
    bound = np.array([2.0, -1.0, 0.1])
    p = p_values(table, bound)
    assert half_width(table, p) == pytest.approx(np.abs(table["mean"] - bound), abs=1e-9)
    assert ((p <= 0.05) == ((bound <= table["low"]) | (bound >= table["high"]))).all()
    ends = p_values(table, table["high"].to_numpy())
    assert ends == pytest.approx(0.05)


def test_equal_values_have_an_interval_of_width_zero_and_no_p_value():
    table = estimate(*leave_one_out([torch.ones(1, 6)] * 3, torch.arange(6)))
    assert table[["low", "high"]].iloc[0].tolist() == [1, 1]
    assert np.isnan(p_values(table, 0)).all()


def test_a_class_part_needs_two_classes():
    block = torch.tensor([[1.0, 2.0, torch.nan]])
    table = estimate(*leave_one_out([block, block + 1], torch.tensor([0, 0, 1])))
    assert table["interval"].item() == "seeds" and table[ERRORS[2:]].isna().all(axis=None)


def test_says_what_does_not_fit():
    values, classes = problem(7, 2, 2, 4, 2)
    for bad in ([values[0], values[1][:, :4]], values[0], [], [values[0][0]]):
        with pytest.raises(UserError, match="expected one .metrics, samples. shape for every seed"):
            leave_one_out(bad, classes)
    with pytest.raises(UserError, match="the class of each sample"):
        leave_one_out(values, classes[1:])


# The simulation of the coverage. A value is the sum of effects of its seed, its class, its drawing (both the same for
# all seeds), its class in this seed, and noise: their standard deviations. `right` keeps only the sign, as accuracy.
MIXES = {
    "seeds dominate": (1, 0.3, 0.3, 0.3, 1, False),
    "classes dominate": (0.02, 1, 0.3, 0.3, 1, False),
    "drawings dominate": (0.02, 0.1, 1, 0.1, 0.3, False),
    "classes differ by seed": (0, 0, 0, 1, 0.3, False),
    "only noise": (0, 0, 0, 0, 1, False),
    "an even mix": (0.3, 1, 1, 0.5, 1, False),
    "right or wrong": (0.3, 0.5, 0.5, 0.3, 1, True),
}
REPLICATES = 2000  # data sets of one simulation, each a metric of one call
MARGIN = 3 * (0.95 * 0.05 / REPLICATES) ** 0.5


def simulated(mix, n_seeds, n_classes, n_each, half, random):
    """Values (REPLICATES, N) for each seed, with half of the classes in each seed or all, their classes, and the
    truth.
    """
    seed, own, drawing, both, noise, right = MIXES[mix]

    def effect(spread, *shape):
        return spread * torch.randn(REPLICATES, *shape, generator=random)

    shared = effect(own, n_classes, 1) + effect(drawing, n_classes, n_each)
    values = []
    for _ in range(n_seeds):
        block = shared + effect(seed, 1, 1) + effect(both, n_classes, 1) + effect(noise, n_classes, n_each)
        if right:
            block = (block > 0).float()
        if half:
            order = torch.rand(REPLICATES, n_classes, 1, generator=random).argsort(1)
            block = block.masked_fill(order >= n_classes // 2, torch.nan)
        values.append(block.flatten(1).double())
    return values, torch.arange(n_classes).repeat_interleave(n_each), 0.5 * right


def coverage(low, high, truth):
    return float(((low <= truth) & (truth <= high)).mean())


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("n_seeds", [3, 5])
def test_the_intervals_of_claims_cover_at_three_and_at_five_seeds(mix, n_seeds, random):
    """At least 95 of 100, but for chance, and at most 2.5 times as wide as if the spread were known.

    Student's interval of 3 seeds alone is 1.8 times as wide, of 5 seeds 1.3 times.
    """
    for n_classes, n_each, half in ((10, 6, True), (10, 6, False), (40, 3, True), (40, 3, False)):
        values, classes, truth = simulated(mix, n_seeds, n_classes, n_each, half, random)
        table = estimate(*leave_one_out(values, classes))
        assert coverage(table["low"], table["high"], truth) > 0.95 - MARGIN
        needed = 2 * 1.96 * table["mean"].std()
        assert (table["high"] - table["low"]).median() < 2.5 * needed


@pytest.mark.parametrize("mix, most", [("seeds dominate", 0.85), ("classes dominate", 0.85), ("an even mix", 0.85)])
def test_a_bootstrap_over_drawings_and_three_seeds_covers_too_seldom(mix, most, random):
    """What the claims had before: percentiles of draws of drawings and of seeds."""
    values, _, truth = simulated(mix, 3, 10, 6, False, random)
    drawn = resampled_means(values, *draw_resamples(60, 3, random, 400))
    low, high = drawn.quantile(drawn.new_tensor([0.025, 0.975]), dim=0).numpy()
    assert coverage(low, high, truth) < most


@pytest.mark.parametrize("mix", ["classes dominate", "drawings dominate"])
def test_three_seeds_alone_cover_too_seldom(mix, random):
    """Student's interval over seeds, where the seeds share their test images."""
    values, _, truth = simulated(mix, 3, 10, 6, False, random)
    table = estimate(torch.stack([block.nanmean(1) for block in values]))
    assert coverage(table["low"], table["high"], truth) < 0.8


def test_a_part_that_the_data_cannot_give_has_no_degrees_of_freedom():
    """One seed has no seed part, one class no class part; without both there is no interval."""
    one, two = torch.tensor([[0.5]], dtype=torch.float64), torch.tensor([[0.5], [0.7]], dtype=torch.float64)
    single_class = torch.tensor([[[0.1, torch.nan]]] * 2, dtype=torch.float64)
    for whole, without, interval in ((one, None, ""), (two, single_class, "seeds"), (one, single_class[:1], "")):
        (row,) = estimate(whole, without).to_dict("records")
        assert row["interval"] == interval and math.isnan(row["class_df"]) and math.isnan(row["class_error"])
        assert math.isnan(row["seed_df"]) == (len(whole) == 1) == math.isnan(row["low"])
    widths = half_width(estimate(one), 0.05)
    assert widths.dtype == np.float64 and np.isnan(widths).all()
