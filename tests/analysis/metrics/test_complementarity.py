import math
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from analysis_lib import ClassSplit, UserError
from analysis_lib.analysis.gamma.curve import shift_logits
from analysis_lib.analysis.metrics.complementarity import MEASURES, complementarity, predictions, rates, sample_values

SPLIT = ClassSplit(4, [0, 2])


def draw(seed, n=40, networks="ab"):
    """Logits of networks that know something of the labels, and the labels, (N,) with every class among them."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(4), torch.randint(4, (n - 4,), generator=random)])
    hint = torch.nn.functional.one_hot(labels, 4).double()
    logits = {name: hint + torch.randn(n, 4, generator=random, dtype=torch.float64) for name in networks}
    return logits, labels


def measured(logits, labels, count=10):
    table = complementarity(logits, labels, SPLIT, count)
    return table.set_index(["a", "b", "group", "metric"])["value"].sort_index()


def between(a, b, labels):
    """The measures of two networks with these predicted classes."""
    values = sample_values(*(torch.tensor(each) for each in (a, b, labels)))
    return {name: float(value) for name, value in rates({k: v.mean() for k, v in values.items()}).items()}


def test_a_small_example_by_hand():
    # class 0: a is right twice of three, b once; class 1: both are wrong on the one sample, each in its own way
    found = between([0, 0, 1, 0], [0, 1, 1, 2], [0, 0, 0, 1])
    by_chance = (2 * 1 + 1 * 2) / 9  # class 0: both say 0, or both say 1; class 1 never agrees
    assert found == pytest.approx(
        {
            "agreement": 2 / 4,
            "agreement_null": 3 / 4 * by_chance,
            "kappa": (1 / 2 - 3 / 4 * by_chance) / (1 - 3 / 4 * by_chance),
            "double_fault": 2 / 4,
            "double_fault_null": (3 * (1 / 3) * (2 / 3) + 1) / 4,
            "correct_only_a": 1 / 4,
            "correct_only_b": 0,
            "error_overlap": 2 / 3,
            "error_overlap_null": (5 / 12) / (2 / 4 + 3 / 4 - 5 / 12),
        }
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(5, 60), st.integers(1, 70))
def test_every_group_is_what_a_loop_over_samples_finds(seed, n, count):
    logits, labels = draw(seed, n)
    found = measured(logits, labels, count)["a", "b"]
    confidence = sum(each.softmax(1).max(1).values for each in logits.values()) / 2
    order = sorted(range(n), key=lambda i: -confidence[i])
    groups = {
        "all": range(n),
        "seen": [i for i in range(n) if labels[i] in (0, 2)],
        "absent": [i for i in range(n) if labels[i] in (1, 3)],
        "most_confident": order[:count],
        "least_confident": order[::-1][:count],
    }
    said = {name: each.argmax(1).tolist() for name, each in logits.items()}
    for group, rows in groups.items():
        wrong = {name: {i for i in rows if said[name][i] != labels[i]} for name in "ab"}
        either = wrong["a"] | wrong["b"]
        expected = {
            "agreement": sum(said["a"][i] == said["b"][i] for i in rows) / len(rows),
            "double_fault": len(wrong["a"] & wrong["b"]) / len(rows),
            "correct_only_a": len(wrong["b"] - wrong["a"]) / len(rows),
            "correct_only_b": len(wrong["a"] - wrong["b"]) / len(rows),
            "error_overlap": len(wrong["a"] & wrong["b"]) / len(either) if either else math.nan,
        }
        own = {metric: found[group, metric] for metric in expected}
        assert own == pytest.approx(expected, nan_ok=True), group


def test_chance_is_the_mean_over_all_ways_to_pair_the_samples_of_a_class():
    labels = [0, 0, 0, 0, 1, 1, 1]
    a, b = [0, 1, 0, 2, 1, 1, 0], [0, 0, 1, 2, 1, 2, 0]
    agreements, faults = [], []
    for first in permutations(range(4)):
        for second in permutations(range(4, 7)):
            paired = between(a, [b[i] for i in (*first, *second)], labels)
            agreements.append(paired["agreement"])
            faults.append(paired["double_fault"])
    found = between(a, b, labels)
    assert found["agreement_null"] == pytest.approx(sum(agreements) / len(agreements))
    assert found["double_fault_null"] == pytest.approx(sum(faults) / len(faults))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_kappa_of_one_class_is_cohens(seed):
    random = torch.Generator().manual_seed(seed)
    a, b = torch.randint(3, (2, 30), generator=random).tolist()
    assert between(a, b, [1] * 30)["kappa"] == pytest.approx(cohen_kappa_score(a, b), abs=1e-12)


def test_independent_networks_that_are_accurate_agree_much_and_yet_by_chance():
    """Their agreement is high, and Cohen's kappa over all classes too: both follow from accuracy alone."""
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (20_000,), generator=random)

    def accurate():
        guesses = torch.randint(10, labels.shape, generator=random)
        return torch.where(torch.rand(labels.shape, generator=random) < 0.9, labels, guesses)

    a, b = accurate(), accurate()
    found = between(a.tolist(), b.tolist(), labels.tolist())
    accuracy = 0.9 + 0.1 / 10
    expected = accuracy**2 + 9 * 0.01**2
    assert found["agreement"] == pytest.approx(expected, abs=0.01) and found["agreement"] > 0.8
    assert cohen_kappa_score(a, b) > 0.8
    assert found["kappa"] == pytest.approx(0, abs=0.03)
    assert found["agreement_null"] == pytest.approx(found["agreement"], abs=0.005)
    assert found["error_overlap"] == pytest.approx(found["error_overlap_null"], abs=0.01)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_identities(seed):
    logits, labels = draw(seed)
    logits["c"] = logits["a"].clone()
    found = measured(logits, labels)
    right = logits["a"].argmax(1) == labels
    itself = found["a", "c", "all"]
    assert itself["agreement"] == itself["kappa"] == 1 and itself["cka"] == pytest.approx(1)
    assert itself["double_fault"] == pytest.approx(1 - right.double().mean().item())
    assert itself["error_overlap"] == 1 or right.all()
    assert itself["correct_only_a"] == itself["correct_only_b"] == 0
    for group in ("all", "seen", "absent"):
        one = found["a", "b", group]
        rows = {"all": right | True, "seen": labels % 2 == 0, "absent": labels % 2 == 1}[group]
        both_right = (right & (logits["b"].argmax(1) == labels))[rows].double().mean().item()
        parts = one["correct_only_a"] + one["correct_only_b"] + one["double_fault"] + both_right
        assert parts == pytest.approx(1)
        assert one["correct_only_a"] + both_right == pytest.approx(right[rows].double().mean().item())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(-5, 5))
def test_what_changes_nothing(seed, gamma):
    """A constant for each sample, the order of the samples, and which network comes first; a shift leaves CKA."""
    logits, labels = draw(seed)
    found = measured(logits, labels)["a", "b"]
    constants = torch.linspace(-3, 3, len(labels), dtype=torch.float64)[:, None]
    moved = measured({"a": logits["a"] + constants, "b": logits["b"] - 2 * constants}, labels)["a", "b"]
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    shuffled = measured({name: each[order] for name, each in logits.items()}, labels[order])["a", "b"]
    swapped = measured({"b": logits["b"], "a": logits["a"]}, labels)["b", "a"]
    for key, value in found.items():
        assert moved[key] == pytest.approx(value, nan_ok=True)
        assert shuffled[key] == pytest.approx(value, nan_ok=True)
        other = {"correct_only_a": "correct_only_b", "correct_only_b": "correct_only_a"}.get(key[1], key[1])
        assert swapped[key[0], other] == pytest.approx(value, nan_ok=True)
    shifted = measured({"a": shift_logits(logits["a"], SPLIT, gamma), "b": logits["b"]}, labels)["a", "b"]
    for group in ("all", "seen", "absent"):
        assert shifted[group, "cka"] == pytest.approx(found[group, "cka"])


def test_cka_is_of_what_the_softmax_sees():
    """Large constants of each sample would make any two networks alike."""
    logits, labels = draw(3, 200)
    constants = 100 * torch.randn(200, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = measured({name: each + constants for name, each in logits.items()}, labels)
    assert found["a", "b", "all", "cka"] < 0.6


def test_confident_samples_are_at_most_all_and_ties_keep_their_order():
    logits, labels = draw(5, 12)
    found = measured(logits, labels, 5000)["a", "b"]
    assert found["most_confident"].equals(found["all"]) or found["most_confident"].tolist() == pytest.approx(
        found["all"].tolist()
    )
    flat = {"a": torch.eye(4, dtype=torch.float64)[[0, 1, 2, 3]], "b": torch.eye(4, dtype=torch.float64)[[0, 1, 3, 2]]}
    found = measured(flat, torch.arange(4), 2)["a", "b"]
    assert found["most_confident", "agreement"] == 1 and found["least_confident", "agreement"] == 0


def test_groups_without_samples_and_networks_without_errors_are_nan():
    labels = torch.tensor([0, 2, 0])
    perfect = 5 * torch.nn.functional.one_hot(labels, 4).double()
    found = measured({"a": perfect, "b": perfect}, labels)["a", "b"]
    assert found["absent"].isna().all()
    assert math.isnan(found["all", "error_overlap"]) and math.isnan(found["all", "kappa"])
    assert found["all", "agreement"] == found["all", "agreement_null"] == 1


def test_all_pairs_are_there_once_in_order():
    logits, labels = draw(1, networks="cab")
    table = complementarity(logits, labels, SPLIT, 3)
    assert list(table[["a", "b"]].drop_duplicates().itertuples(index=False, name=None)) == [
        ("c", "a"),
        ("c", "b"),
        ("a", "b"),
    ]
    assert not table.duplicated(["a", "b", "group", "metric"]).any() and set(table["metric"]) == set(MEASURES)
    confident = predictions(logits["c"]).confidence
    assert confident.tolist() == pytest.approx(logits["c"].softmax(1).max(1).values.tolist())


def test_mistakes_are_refused():
    logits, labels = draw(0)
    with pytest.raises(UserError, match="0 confident samples"):
        complementarity(logits, labels, SPLIT, 0)
    with pytest.raises(UserError, match=r"labels have shape \(39,\)"):
        complementarity(logits, labels[1:], SPLIT, 5)
    with pytest.raises(UserError, match=r"logits have shape \(40, 3\)"):
        complementarity(logits | {"c": logits["a"][:, :3]}, labels, SPLIT, 5)
