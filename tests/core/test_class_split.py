import pytest
import torch

from analysis_lib import ClassSplit, UserError


def test_seen_and_absent_partition_the_classes():
    split = ClassSplit(5, [3, 0])
    assert split.seen == (0, 3)
    assert split.absent == (1, 2, 4)
    assert split.seen_mask.tolist() == [True, False, False, True, False]
    assert split.is_seen(torch.tensor([3, 4, 0])).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [([], "the seen set is empty"), ([0, 1, 2], "the absent set is empty"), ([0, 3], "seen class 3 is outside 0..2"), ([-1], "seen class -1"), ([1, 1], "given twice")],
)
def test_impossible_splits_are_refused(seen, sentence):
    with pytest.raises(UserError, match=sentence):
        ClassSplit(3, seen)
