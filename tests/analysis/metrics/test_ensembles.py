from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis_lib import ClassSplit, UserError, accuracies
from analysis_lib.analysis.gamma.curve import shift_logits
from analysis_lib.analysis.metrics.ensembles import (
    ENSEMBLES,
    best_member,
    ensembles,
    mean_logits,
    mean_probabilities,
    votes,
)

SPLIT = ClassSplit(4, [0, 2])
COMBINED = {"mean_logits": mean_logits, "mean_probabilities": mean_probabilities, "vote": votes}


def draw(seed, members=3, n=30):
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (n,), generator=random)
    hint = torch.nn.functional.one_hot(labels, 4).double()
    return hint + torch.randn(members, n, 4, generator=random, dtype=torch.float64), labels


def named(members):
    return {f"m{number}": each for number, each in enumerate(members)}


def measured(members, labels):
    return ensembles(named(members), labels, SPLIT).set_index(["ensemble", "group", "metric"])["value"].sort_index()


def probabilities(*rows):
    """The logits of one sample for each member, from its class probabilities."""
    return torch.tensor(rows, dtype=torch.float64).log()[:, None]


def test_a_small_example_by_hand():
    members = probabilities([0.6, 0.3, 0.05, 0.05], [0.6, 0.3, 0.05, 0.05], [0.01, 0.97, 0.01, 0.01])
    assert votes(members).argmax() == 0, "two of three"
    assert mean_probabilities(members).argmax() == 1, "1.57 against 1.21"
    assert mean_logits(members).argmax() == 1, "0.3 * 0.3 * 0.97 against 0.6 * 0.6 * 0.01"
    assert mean_probabilities(members).exp()[0].tolist() == pytest.approx([1.21 / 3, 1.57 / 3, 0.11 / 3, 0.11 / 3])


def test_equal_votes_are_decided_by_the_mean_probability():
    members = probabilities([0.5, 0.2, 0.2, 0.1], [0.05, 0.05, 0.1, 0.8])
    assert votes(members).argmax() == 3 and votes(members.flip(0)).argmax() == 3
    members = probabilities([0.8, 0.1, 0.05, 0.05], [0.1, 0.1, 0.2, 0.6])
    assert votes(members).argmax() == 0
    high_and_not_chosen = probabilities([0.51, 0.49, 0, 0], [0, 0.49, 0, 0.51])
    assert votes(high_and_not_chosen).argmax() in (0, 3), "class 1 has the highest mean probability, and no vote"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_every_ensemble_is_what_a_loop_over_samples_finds(seed, size):
    members, labels = draw(seed, size)
    found = measured(members, labels)
    right = {name: [] for name in ENSEMBLES}
    for i, label in enumerate(labels.tolist()):
        rows = members[:, i]
        mean = rows.softmax(1).mean(0)
        counts = Counter(rows.argmax(1).tolist())
        most = [c for c in range(4) if counts[c] == max(counts.values())]
        right["mean_logits"].append(int(rows.mean(0).argmax()) == label)
        right["mean_probabilities"].append(int(mean.argmax()) == label)
        right["vote"].append(max(most, key=lambda c: mean[c]) == label)
        right["any_correct"].append(label in counts)
        right["mean_single"].append(counts[label] / size)
    single = [accuracies(each, labels, SPLIT) for each in members]
    best = max(range(size), key=lambda m: single[m]["acc_yy"])
    assert best_member(members, labels) == best
    for group, key in (("all", "acc_yy"), ("seen", "acc_sy"), ("absent", "acc_uy")):
        rows = {"all": labels >= 0, "seen": labels % 2 == 0, "absent": labels % 2 == 1}[group]
        for name, values in right.items():
            if name != "best_single":
                expected = torch.tensor(values, dtype=torch.float64)[rows].mean().item()
                assert found[name, group, "accuracy"] == pytest.approx(expected)
        assert found["best_single", group, "accuracy"] == pytest.approx(single[best][key])
        assert found["mean_single", group, "accuracy"] == pytest.approx(sum(each[key] for each in single) / size)
        for name in ENSEMBLES:
            accuracy = found[name, group, "accuracy"]
            for over in ("best_single", "mean_single"):
                assert found[name, group, f"over_{over}"] == pytest.approx(accuracy - found[over, group, "accuracy"])
        assert found["any_correct", group, "accuracy"] >= max(each[key] for each in single)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_equal_members_are_the_member(seed, size):
    (member,), labels = draw(seed, 1)
    found = measured(member.expand(size, -1, -1), labels)
    own = accuracies(member, labels, SPLIT)
    for group, key in (("all", "acc_yy"), ("seen", "acc_sy"), ("absent", "acc_uy")):
        for name in ENSEMBLES:
            assert found[name, group, "accuracy"] == pytest.approx(own[key])
            assert found[name, group, "over_best_single"] == pytest.approx(0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.floats(-4, 4), min_size=3, max_size=3))
def test_constants_of_a_sample_and_the_order_of_members_change_nothing(seed, constants):
    members, _ = draw(seed)
    moved = members + torch.tensor(constants, dtype=torch.float64)[:, None, None]
    for combine in COMBINED.values():
        before, after = combine(members), combine(moved)
        difference = after - before
        assert torch.allclose(difference, difference[:, :1].expand_as(difference), atol=1e-12)
        assert torch.allclose(combine(members.flip(0)), before, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.floats(-4, 4), min_size=3, max_size=3))
def test_shifts_of_the_members_reach_the_mean_of_logits_as_their_mean(seed, gammas):
    members, _ = draw(seed)
    shifted = torch.stack([shift_logits(each, SPLIT, gamma) for each, gamma in zip(members, gammas)])
    expected = shift_logits(mean_logits(members), SPLIT, sum(gammas) / 3)
    assert torch.allclose(mean_logits(shifted), expected, atol=1e-12)


def test_a_shift_of_each_member_restores_an_ensemble_that_its_biased_members_spoil():
    """Two networks know the absent classes but prefer seen ones by constants of their own."""
    members, labels = draw(0, 2, 400)
    biases = (3.0, 6.0)
    spoilt = torch.stack([shift_logits(each, SPLIT, -bias) for each, bias in zip(members, biases)])
    healed = torch.stack([shift_logits(each, SPLIT, bias) for each, bias in zip(spoilt, biases)])
    for name in COMBINED:
        before, after = measured(spoilt, labels), measured(healed, labels)
        assert before[name, "absent", "accuracy"] < 0.05 and after[name, "absent", "accuracy"] > 0.5
        assert after[name, "all", "accuracy"] == pytest.approx(measured(members, labels)[name, "all", "accuracy"])


def test_what_uses_the_labels_is_marked():
    members, labels = draw(1)
    table = ensembles(named(members), labels, SPLIT)
    assert set(table.loc[table["oracle"], "ensemble"]) == {"best_single", "any_correct"}
    assert all("oracle" in each.title for each in ENSEMBLES.values() if each.oracle)


def test_groups_without_samples_are_nan_and_mistakes_are_refused():
    members, _ = draw(1, n=3)
    found = measured(members, torch.tensor([0, 2, 0]))
    assert found.xs("absent", level="group").isna().all() and found.xs("seen", level="group").notna().all()
    with pytest.raises(UserError, match="no members"):
        ensembles({}, torch.tensor([0]), SPLIT)
    with pytest.raises(UserError, match=r"labels have shape \(2,\)"):
        ensembles(named(members), torch.tensor([0, 1]), SPLIT)
