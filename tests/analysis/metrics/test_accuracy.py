import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from analysis_lib import ClassSplit, UserError, accuracies


def brute_force(logits, labels, split):
    """The definition, sample by sample, in plain Python."""
    groups = {"y": range(split.num_classes), "s": split.seen, "u": split.absent}
    result = {}
    for a, b in ("yy", "sy", "uy", "ss", "uu"):
        right = [max(groups[b], key=lambda c: (row[c], -c)) == y for row, y in zip(logits.tolist(), labels.tolist()) if y in groups[a]]
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
    assert accuracies(logits, labels, split) == pytest.approx(brute_force(logits, labels, split), nan_ok=True)


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
