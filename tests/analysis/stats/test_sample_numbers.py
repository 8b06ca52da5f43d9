import math

import pandas as pd
import pytest
import torch

from analysis_lib import ClassSplit, seen_absent_curve
from analysis_lib.analysis.gamma.curve import ausuc_parts
from analysis_lib.analysis.stats.claims import Contrast, State
from analysis_lib.analysis.stats.intervals import estimate
from analysis_lib.analysis.stats.sample_numbers import SampleNumbers, sample_numbers

N, C = 40, 5
LABELS = torch.cat([torch.ones(10, dtype=torch.long), torch.arange(10, N) % C])
SPLITS = [ClassSplit(C, [0, 1, 3]), ClassSplit(C, [1, 4]), ClassSplit(C, [0, 1, 2])]  # of the seeds
BEFORE, AFTER, MIDDLE = State("before"), State("after"), State("middle")


def metrics(logits, labels, split):
    """Accuracies of each group on these samples, and AUSUC."""
    seen, right = split.is_seen(labels), (logits.argmax(1) == labels).double()
    area = seen_absent_curve(logits, labels, split).ausuc
    return {"acc_sy": right[seen].mean().item(), "acc_uy": right[~seen].mean().item(), "ausuc": area}


@pytest.fixture
def networks(random):
    """The logits of two networks of each seed."""
    found = []
    for _ in SPLITS:
        logits = torch.randn(2, N, C, generator=random, dtype=torch.float64)
        logits[:, range(N), LABELS] += 1.5
        found.append({BEFORE: logits[0], AFTER: logits[1]})
    return found


@pytest.fixture
def numbers(networks):
    values, areas = [], []
    for split, states in zip(SPLITS, networks):
        seen, own, parts = split.is_seen(LABELS), {}, {}
        for state, logits in states.items():
            right = (logits.argmax(1) == LABELS).double()
            own[state, "acc_sy"], own[state, "acc_uy"] = right.where(seen, torch.nan), right.where(~seen, torch.nan)
            part = ausuc_parts(logits, LABELS, split)
            parts[state] = part.where(seen, torch.nan), part.where(~seen, torch.nan)
        values.append(own)
        areas.append(parts)
    return sample_numbers(values, areas, LABELS)


def test_numbers_are_those_of_the_samples_with_and_without_each_class(numbers, networks):
    assert numbers.whole.shape == (3, 6) and numbers.without.shape == (3, 6, C)
    for k, (split, states) in enumerate(zip(SPLITS, networks)):
        for row, (state, metric) in enumerate(numbers.names):
            whole = metrics(states[state], LABELS, split)[metric]
            assert numbers.whole[k, row].item() == pytest.approx(whole)
            for c in range(C):
                kept = LABELS != c
                used = metric == "ausuc" or (c in split.seen) == (metric == "acc_sy")
                expected = metrics(states[state][kept], LABELS[kept], split)[metric] if used else math.nan
                assert numbers.without[k, row, c].item() == pytest.approx(expected, nan_ok=True)


def test_sizes_are_those_of_the_seed_with_the_fewest(numbers):
    fewest = {"acc_sy": 22, "acc_uy": 12, "ausuc": 40}
    assert numbers.sizes.tolist() == [fewest[metric] for _, metric in numbers.names]


def as_table(whole, without, n_samples):
    table = estimate(torch.tensor(whole, dtype=torch.float64).T, torch.stack(without, 1))
    return table.assign(n_samples=n_samples, n_seeds=3)


def test_levels_and_differences_have_the_intervals_of_their_numbers(numbers):
    place = {name: row for row, name in enumerate(numbers.names)}
    names = [(AFTER, "acc_uy"), (BEFORE, "ausuc")]
    rows = [place[name] for name in names]
    expected = as_table(numbers.whole[:, rows].T.tolist(), [numbers.without[:, row] for row in rows], [12, 40])
    pd.testing.assert_frame_equal(numbers.levels(names), expected)
    contrasts = [Contrast(AFTER, BEFORE, "acc_sy"), Contrast(AFTER, BEFORE, "ausuc")]
    pairs = [(place[each.a, each.metric], place[each.b, each.metric]) for each in contrasts]
    whole = [(numbers.whole[:, a] - numbers.whole[:, b]).tolist() for a, b in pairs]
    without = [numbers.without[:, a] - numbers.without[:, b] for a, b in pairs]
    pd.testing.assert_frame_equal(numbers.differences(contrasts), as_table(whole, without, [22, 40]))


def test_a_class_that_one_number_uses_leaves_the_other_as_it_is(numbers):
    """The accuracy of one network over S less that of the other over U: every class is in one of the two."""
    assert numbers.names[1:3] == [(BEFORE, "acc_uy"), (AFTER, "acc_sy")]
    names, rows = [(AFTER, "x"), (BEFORE, "x")], [2, 1]
    mixed = SampleNumbers(names, numbers.whole[:, rows], numbers.without[:, rows], torch.tensor([9, 7]))
    without = torch.empty(3, C, dtype=torch.float64)
    for k, split in enumerate(SPLITS):
        (whole_s, whole_u), (without_s, without_u) = mixed.whole[k], mixed.without[k]
        for c in range(C):
            without[k, c] = without_s[c] - whole_u if c in split.seen else whole_s - without_u[c]
    whole = (mixed.whole[:, 0] - mixed.whole[:, 1]).tolist()
    found = mixed.differences([Contrast(AFTER, BEFORE, "x")])
    pd.testing.assert_frame_equal(found, as_table([whole], [without], [7]))


def test_means_of_states_are_made_of_the_metrics_that_all_have(numbers):
    extra = SampleNumbers(
        [*numbers.names, (AFTER, "alone")],
        torch.cat([numbers.whole, numbers.whole[:, :1]], 1),
        torch.cat([numbers.without, numbers.without[:, :1]], 1),
        torch.cat([numbers.sizes, torch.tensor([3])]),
    )
    extra.sizes[2] = 11  # fewer of one state
    found = extra.with_means({MIDDLE: [BEFORE, AFTER], State("none"): [], State("other"): [State("unknown")]})
    assert found.names == [*extra.names, (MIDDLE, "acc_sy"), (MIDDLE, "acc_uy"), (MIDDLE, "ausuc")]
    assert torch.equal(found.whole[:, :7], extra.whole)
    assert torch.equal(found.without[:, :7].nan_to_num(-1), extra.without.nan_to_num(-1))
    assert found.sizes.tolist() == [22, 12, 11, 12, 40, 40, 3, 11, 12, 40]
    for row, (a, b) in zip((7, 8, 9), ((0, 2), (1, 3), (4, 5))):
        for part, source in ((found.whole, extra.whole), (found.without, extra.without)):
            assert torch.allclose(part[:, row], (source[:, a] + source[:, b]) / 2, equal_nan=True)
