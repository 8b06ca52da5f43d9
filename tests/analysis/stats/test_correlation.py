import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis_lib import UserError
from analysis_lib.analysis.stats.correlation import spearman_over_groups

ENDS = ("mean", "low", "high")
pairs = st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=3, max_size=12).filter(
    lambda found: all(len(set(side)) > 1 for side in zip(*found))
)


def apart(groups):
    """Class numbers for groups that share none."""
    starts = np.cumsum([0, *map(len, groups)])
    return [torch.arange(len(group)) + int(start) for group, start in zip(groups, starts)]


@settings(deadline=None, max_examples=40)
@given(st.lists(pairs, min_size=1, max_size=3), st.integers(0, 2))
def test_the_mean_is_that_of_scipy_whatever_the_ties_and_the_gaps(groups, gaps):
    columns = [torch.tensor(group, dtype=torch.float32).T for group in groups]
    holes = torch.tensor([[torch.nan, 1.0], [2.0, torch.nan]])[:, :gaps]
    predicted, observed = ([torch.cat([holes[side], pair[side]]) for pair in columns] for side in (0, 1))
    found = spearman_over_groups(predicted, observed, apart(predicted))
    assert found["mean"] == pytest.approx(np.mean([stats.spearmanr(*pair).statistic for pair in columns]))
    complete = [pair[0] for pair in columns]
    again = spearman_over_groups(complete, [pair[1] for pair in columns], apart(complete))
    assert found == pytest.approx(again, nan_ok=True)


def correlated(n, rho, random):
    a, noise = torch.randn(2, n, generator=random, dtype=torch.float64)
    return a, rho * a + math.sqrt(1 - rho**2) * noise


def test_a_class_is_left_out_of_all_seeds_at_once(random):
    """By hand: scipy's correlations without one class, wherever it is, and the sum of squares of two half-widths."""
    items = [torch.arange(9), torch.arange(4, 14), torch.tensor([0, 2, 13, 6, 20, 5, 8])]
    sides = [correlated(len(item), 0.5, random) for item in items]

    def without(dropped):
        return [stats.spearmanr(a[i != dropped], b[i != dropped]).statistic for (a, b), i in zip(sides, items)]

    whole = np.array(without(-1))
    changes = [np.mean(without(c)) - whole.mean() for c in torch.cat(items).unique()]
    class_error = math.sqrt(6 / 7 * np.sum(np.square(changes)))
    seed_error = whole.std(ddof=1) / math.sqrt(3)
    half = math.hypot(stats.t.ppf(0.975, 2) * seed_error, stats.t.ppf(0.975, 6) * class_error)
    found = spearman_over_groups(*zip(*sides), items)
    assert found["interval"] == "seeds and classes"
    assert [found[name] for name in ("mean", "seed_error", "class_error", "class_df")] == pytest.approx(
        [whole.mean(), seed_error, class_error, 6]
    )
    assert (found["low"], found["high"]) == pytest.approx((max(-1, whole.mean() - half), min(1, whole.mean() + half)))


def test_repeats_are_averaged_and_their_order_does_not_matter(random):
    a, b = torch.randn(2, 5, 12, generator=random, dtype=torch.float64)
    items = torch.arange(12)
    found = spearman_over_groups([a], [b], [items])
    each = [spearman_over_groups([row], [other], [items])["mean"] for row, other in zip(a, b)]
    assert found["mean"] == pytest.approx(np.mean(each))
    order, turn = torch.randperm(12, generator=random), [3, 1, 0, 4, 2]
    moved = spearman_over_groups([a[turn][:, order]], [b[turn][:, order]], [items[order]])
    assert moved == pytest.approx(found, nan_ok=True)
    one = spearman_over_groups([a[0]], [b[0]], [items])
    assert spearman_over_groups([a[:1]], [b[:1]], [items]) == pytest.approx(one, nan_ok=True)


def test_the_interval_covers_and_is_no_wider_than_needed(random):
    """Of normal pairs that recur over three seeds with noise; the truth is 6/pi asin(rho/2) of their correlation."""
    hits, widths, means = 0, [], []
    for _ in range(200):
        base, gain = torch.randn(2, 40, generator=random, dtype=torch.float64)
        predicted, observed, items = [], [], []
        for _ in range(3):
            item = torch.randperm(40, generator=random)[:24]
            predicted.append(base[item])
            observed.append((base + gain)[item] + torch.randn(24, generator=random, dtype=torch.float64))
            items.append(item)
        found = spearman_over_groups(predicted, observed, items)
        hits += found["low"] <= 6 / math.pi * math.asin(1 / math.sqrt(3) / 2) <= found["high"]
        widths.append(found["high"] - found["low"])
        means.append(found["mean"])
    assert hits >= 200 * (0.95 - 3 * math.sqrt(0.95 * 0.05 / 200))
    assert np.median(widths) < 2 * (2 * 1.96 * np.std(means))


def test_the_interval_of_one_large_group_has_the_known_length(random):
    a, b = torch.randn(2, 300, generator=random)
    found = spearman_over_groups([a], [b], [torch.arange(300)])
    assert found["interval"] == "classes"
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 / math.sqrt(299), rel=0.15)


def test_classes_that_recur_are_not_counted_as_new_ones(random):
    """The same classes in every seed leave the class part as it is; other classes make it smaller."""
    a, b = correlated(50, 0.6, random)
    alone, same, new = (
        spearman_over_groups([a] * k, [b] * k, items)["class_error"]
        for k, items in ((1, [torch.arange(50)]), (4, [torch.arange(50)] * 4), (4, apart([a] * 4)))
    )
    assert (same, new) == pytest.approx((alone, alone / 2))


def test_without_an_order_there_is_no_correlation():
    """A group that is constant, or too small once its gaps are left out, leaves no number at all, whatever the other
    groups say.
    """
    fine, constant, gaps = torch.arange(5.0), torch.ones(5), torch.tensor([1.0, torch.nan, torch.nan, 2.0, torch.nan])
    items = [torch.arange(5)] * 2
    for other in (constant, gaps):
        for predicted, observed in (
            ([other], [fine]),
            ([fine], [other]),
            ([fine, fine], [fine, other]),
            ([other, fine], [fine, fine]),
        ):
            found = spearman_over_groups(predicted, observed, items[: len(predicted)])
            assert all(math.isnan(found[name]) for name in ENDS)
    short = spearman_over_groups([fine[:2]], [fine[:2]], [torch.arange(2)])
    assert all(math.isnan(short[name]) for name in ENDS)


@pytest.mark.parametrize(
    "predicted, observed, items",
    [
        ([], [], []),
        ([torch.zeros(4)], [], [torch.arange(4)]),
        ([torch.zeros(4)], [torch.zeros(4)], []),
        ([torch.zeros(4), torch.zeros(4)], [torch.zeros(4)], [torch.arange(4)]),
        ([torch.zeros(4)], [torch.zeros(5)], [torch.arange(4)]),
        ([torch.zeros(4, 1)], [torch.zeros(4, 1)], [torch.arange(4)]),
        ([torch.zeros(4)], [torch.zeros(4)], [torch.arange(5)]),
    ],
)
def test_groups_that_do_not_fit_are_refused(predicted, observed, items):
    with pytest.raises(UserError, match="do not fit together"):
        spearman_over_groups(predicted, observed, items)


def test_three_entries_are_enough_and_the_interval_ends_at_one():
    """By hand: 1/2 of three, and -1, 1 and 1 without each; the opposite prediction mirrors everything."""
    a, b = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 3.0, 2.0])
    found = spearman_over_groups([a], [b], [torch.arange(3)])
    error = math.sqrt(2 / 3 * (1.5**2 + 0.5**2 + 0.5**2))
    assert [found[name] for name in ("mean", "class_error", "class_df")] == pytest.approx([0.5, error, 2])
    assert (found["low"], found["high"]) == (-1, 1) and 0.5 - stats.t.ppf(0.975, 2) * error < -2
    a, b = torch.arange(6.0), torch.tensor([0.0, 1.0, 2.0, 3.0, 5.0, 4.0])
    for sign in (1, -1):
        found = spearman_over_groups([sign * a], [b], [torch.arange(6)])
        ends = sign * found["mean"], *sorted((sign * found["low"], sign * found["high"]))
        assert ends[2] == 1 and 0 < ends[1] < ends[0] < 1


def test_groups_without_entries_have_no_correlation():
    empty = torch.empty(2, 0)
    found = spearman_over_groups([empty, empty], [empty, empty], [torch.empty(0, dtype=torch.int64)] * 2)
    assert all(math.isnan(found[column]) for column in ("mean", "low", "high"))
