"""gamma from the share of absent samples among unlabelled target images (transductive)."""

import torch

from ....core.class_split import ClassSplit
from ....core.errors import UserError
from ...metrics.accuracy import max_over
from ..curve import state_midpoints


def matched_share_gamma(target_logits: torch.Tensor, split: ClassSplit, share: float | None = None) -> float:
    """The gamma at which a given share of unlabelled target samples is predicted absent.

    target_logits : (N, C) of the fine-tuned model on images of all classes; share : of absent samples among them, in
    [0, 1]. None takes the share of absent classes, which is right if all classes are equally frequent. Of the states
    that gamma can reach, the one nearest in share is chosen, the lower of two equals. Raises UserError for logits
    without rows, of other classes or with NaN, for a sample whose groups cannot be compared, and for a share outside
    [0, 1]. Source: ours.
    """
    if target_logits.ndim != 2 or target_logits.shape[1] != split.num_classes or not len(target_logits):
        raise UserError(
            f"the target logits have shape {tuple(target_logits.shape)}; expected (N, {split.num_classes}) with at "
            "least one row"
        )
    share = len(split.absent) / split.num_classes if share is None else share
    if not 0 <= share <= 1:
        raise UserError(f"the share of absent samples is {share}; expected a fraction from 0 to 1")
    gaps = max_over(target_logits, split.seen)[0].double() - max_over(target_logits, split.absent)[0].double()
    if target_logits.isnan().any() or gaps.isnan().any():
        raise UserError(
            "the target logits hold NaN, or infinities that leave a sample no finite gap; drop these samples"
        )
    # a sample with an infinite gap stays in its group for every gamma
    breakpoints, counts = gaps[gaps.isfinite()].unique(return_counts=True)
    absent = (gaps == -torch.inf).sum() + torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return state_midpoints(breakpoints)[(absent - share * len(gaps)).abs().argmin()].item()
