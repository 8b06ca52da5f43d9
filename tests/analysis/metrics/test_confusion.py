from collections import Counter

import pytest
import torch

from analysis_lib import ClassSplit, UserError
from analysis_lib.analysis.metrics.confusion import group_confusion, seen_confusions

SPLIT = ClassSplit(6, [1, 2, 5])


@pytest.fixture
def problem(random):
    return torch.randn(90, 6, generator=random), torch.randint(6, (90,), generator=random)


def pairs(logits, labels):
    """The true and the predicted class of each sample, in plain Python."""
    return [(label, row.index(max(row))) for row, label in zip(logits.tolist(), labels.tolist())]


def test_shares_are_counts_of_pairs_of_groups(problem):
    counts = Counter((true in SPLIT.seen, predicted in SPLIT.seen) for true, predicted in pairs(*problem))
    expected = [[counts[a, b] / (counts[a, True] + counts[a, False]) for b in (True, False)] for a in (True, False)]
    assert torch.allclose(group_confusion(*problem, SPLIT), torch.tensor(expected, dtype=torch.float64))


def test_a_group_without_samples_has_no_shares(problem):
    logits, labels = problem
    inside = SPLIT.is_seen(labels)
    for kept, empty in ((inside, 1), (~inside, 0)):
        found = group_confusion(logits[kept], labels[kept], SPLIT)
        assert found[empty].isnan().all() and found[1 - empty].sum().item() == pytest.approx(1)


def test_absent_samples_are_counted_by_the_seen_class_that_took_them(problem):
    counts = Counter(pair for pair in pairs(*problem) if pair[0] not in SPLIT.seen and pair[1] in SPLIT.seen)
    found = seen_confusions(*problem, SPLIT)
    assert found.tolist() == sorted([*pair, n] for pair, n in counts.items()) and found.dtype == torch.int64
    n_absent = sum(label not in SPLIT.seen for label in problem[1].tolist())
    assert found[:, 2].sum().item() / n_absent == pytest.approx(group_confusion(*problem, SPLIT)[1, 0].item())


def test_without_errors_nothing_is_confused():
    labels = torch.arange(6)
    right = 10 * torch.eye(6)
    assert group_confusion(right, labels, SPLIT).tolist() == [[1, 0], [0, 1]]
    assert seen_confusions(right, labels, SPLIT).shape == (0, 3)


@pytest.mark.parametrize("measure", [group_confusion, seen_confusions])
def test_logits_that_do_not_fit_are_refused(measure, problem):
    logits, labels = problem
    for wrong in ((logits[:, :5], labels), (logits, labels[1:]), (logits, labels + 1), (logits * torch.nan, labels)):
        with pytest.raises(UserError):
            measure(*wrong, SPLIT)
