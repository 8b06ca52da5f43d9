"""gamma from the share of absent samples among unlabelled target images (transductive)."""

import torch

from ....core.class_split import ClassSplit
from ..curve import state_midpoints
from .absent_share import check_share, group_gaps


def matched_share_gamma(target_logits: torch.Tensor, split: ClassSplit, share: float | None = None) -> float:
    """The gamma at which a given share of unlabelled target samples is predicted absent.

    target_logits : (N, C) of the fine-tuned model on images of all classes; share : of absent samples among them, in
    [0, 1]. None takes the share of absent classes, which is right if all classes are equally frequent. Of the states
    that gamma can reach, the one nearest in share is chosen, the lower of two equals. Raises UserError for logits
    without rows, of other classes or with NaN, for a sample whose groups cannot be compared, and for a share outside
    [0, 1]. Source: ours.
    """
    gaps = group_gaps(target_logits, split, "target")
    share = check_share(len(split.absent) / split.num_classes if share is None else share)
    # a sample with an infinite gap stays in its group for every gamma
    breakpoints, counts = gaps[gaps.isfinite()].unique(return_counts=True)
    absent = (gaps == -torch.inf).sum() + torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return state_midpoints(breakpoints)[(absent - share * len(gaps)).abs().argmin()].item()
