import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, top_k_accuracy_score

from analysis_lib import ClassSplit, UserError, accuracies
from analysis_lib.analysis.metrics.accuracy import max_over, top_k_accuracies


def brute_force(logits, labels, split, k=1):
    """The definition, sample by sample, in plain Python."""
    groups = {"y": range(split.num_classes), "s": split.seen, "u": split.absent}
    result = {}
    for a, b in ("yy", "sy", "uy", "ss", "uu"):
        right = [
            y in sorted(groups[b], key=lambda c: (-row[c], c))[:k]
            for row, y in zip(logits.tolist(), labels.tolist())
            if y in groups[a]
        ]
        result[f"acc_{a}{b}"] = sum(right) / len(right) if right else math.nan
    return result


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(1, 60))
def test_equals_the_definition_even_with_ties(seed, num_classes, n):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randint(-3, 4, (n, num_classes), generator=random).float()
    labels = torch.randint(num_classes, (n,), generator=random)
    seen = torch.randperm(num_classes, generator=random)[: int(torch.randint(1, num_classes, (), generator=random))]
    split = ClassSplit(num_classes, seen.tolist())
    expected = brute_force(logits, labels, split)
    assert accuracies(logits, labels, split) == pytest.approx(expected, nan_ok=True)
    for k in (1, 2, 5):
        expected, best = brute_force(logits, labels, split, k), top_k_accuracies(logits, labels, split, k)
        sizes = {"y": num_classes, "s": len(split.seen), "u": len(split.absent)}
        for (name, value), found in zip(expected.items(), best.values(), strict=True):
            assert found == pytest.approx(value if sizes[name[-1]] > k else math.nan, nan_ok=True)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_agrees_with_scikit_learn(random, k):
    logits, labels = torch.randn(400, 14, generator=random), torch.randint(14, (400,), generator=random)
    logits[range(400), labels] += 1
    split = ClassSplit(14, [0, 2, 5, 6, 8, 11])
    found = top_k_accuracies(logits, labels, split, k)
    columns = {"y": list(range(14)), "s": list(split.seen), "u": list(split.absent)}
    for group, among in ("yy", "sy", "uy", "ss", "uu"):
        rows = torch.tensor([int(y) in columns[group] for y in labels])
        expected = top_k_accuracy_score(
            [columns[among].index(y) for y in labels[rows].tolist()],
            logits[rows][:, columns[among]],
            k=k,
            labels=range(len(columns[among])),
        )
        assert found[f"top{k}_{group}{among}"] == pytest.approx(expected)
    if k == 1:
        assert list(found.values()) == list(accuracies(logits, labels, split).values())


def test_top_k_grows_with_k_and_no_shift_of_a_group_changes_it_inside_the_group(random):
    logits, labels = torch.randn(300, 20, generator=random), torch.randint(20, (300,), generator=random)
    split = ClassSplit(20, range(9))
    found = [list(top_k_accuracies(logits, labels, split, k).values()) for k in range(1, 9)]
    assert all(a <= b for smaller, larger in itertools.pairwise(found) for a, b in zip(smaller, larger))
    shifted = top_k_accuracies(logits + 3.0 * ~split.seen_mask, labels, split)
    plain = top_k_accuracies(logits, labels, split)
    assert (shifted["top5_ss"], shifted["top5_uu"]) == (plain["top5_ss"], plain["top5_uu"])
    assert shifted["top5_uy"] > plain["top5_uy"] and shifted["top5_sy"] < plain["top5_sy"]


def test_top_k_among_k_classes_says_nothing_and_a_class_never_predicted_is_never_right():
    split, labels = ClassSplit(7, [0, 1, 2, 3, 4]), torch.tensor([0, 5])
    found = top_k_accuracies(torch.zeros(2, 7), labels, split)
    assert math.isnan(found["top5_ss"]) and math.isnan(found["top5_uu"])
    assert (found["top5_sy"], found["top5_uy"]) == (1, 0)
    never = torch.zeros(2, 7)
    never[:, 3:] = -torch.inf
    assert top_k_accuracies(never, labels, split)["top5_uy"] == 0
    only_last = torch.tensor([[*[-torch.inf] * 6, 0.0]])  # class 0 is the second best, and is never predicted
    assert top_k_accuracies(only_last, torch.tensor([0]), split)["top5_sy"] == 0


def test_agrees_with_scikit_learn_and_its_own_identities(random):
    logits, labels = torch.randn(500, 8, generator=random), torch.randint(8, (500,), generator=random)
    logits[range(500), labels] += 1.5
    split = ClassSplit(8, [0, 2, 5])
    acc = accuracies(logits, labels, split)
    assert acc["acc_yy"] == pytest.approx(accuracy_score(labels, logits.argmax(1)))
    n_s = split.is_seen(labels).sum().item()
    assert 500 * acc["acc_yy"] == pytest.approx(n_s * acc["acc_sy"] + (500 - n_s) * acc["acc_uy"])
    assert acc["acc_sy"] <= acc["acc_ss"]
    assert acc["acc_uy"] <= acc["acc_uu"]


def test_an_empty_group_is_nan_and_not_zero():
    acc = accuracies(torch.eye(3), torch.tensor([0, 0, 0]), ClassSplit(3, [0]))
    assert math.isnan(acc["acc_uy"]) and math.isnan(acc["acc_uu"])
    assert acc["acc_sy"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("logits", "labels", "sentence"),
    [
        (torch.zeros(4, 2), torch.zeros(4, dtype=torch.long), r"shape \(4, 2\); expected \(N, 3\)"),
        (torch.zeros(4, 3), torch.zeros(5, dtype=torch.long), r"labels have shape \(5,\)"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), r"labels span 0..3; expected 0..2"),
        (torch.tensor([[0.0, 0, 0], [0, torch.nan, 0]]), torch.tensor([0, 1]), "NaN, first in row 1"),
    ],
)
def test_scores_that_do_not_fit_are_refused(logits, labels, sentence):
    with pytest.raises(UserError, match=sentence):
        accuracies(logits, labels, ClassSplit(3, [0]))


def test_the_maximum_over_columns_of_thousands_of_rows(random):
    scores = torch.randn(3000, 5, generator=random)
    value, found = max_over(scores, [4, 1])
    assert torch.equal(value, torch.maximum(scores[:, 4], scores[:, 1]))
    assert torch.equal(found, torch.where(scores[:, 4] >= scores[:, 1], 4, 1))
