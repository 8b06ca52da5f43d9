"""The share of absent-class samples among unlabelled target images, estimated from their gaps.

The gap of a sample is its largest seen logit minus its largest absent logit. The gaps of unlabelled images are a
mixture: (1 - pi) times the gaps of seen images plus pi times those of absent images. Held-out seen images show the
first part; nothing labelled shows the second (positive-unlabelled learning). Absent images rarely have gaps as large as
the upper half of seen images, so the unlabelled images found there are nearly all seen, and their number gives 1 - pi.
"""

from dataclasses import dataclass

import torch

from ....core.class_split import ClassSplit
from ....core.errors import UserError
from ...metrics.accuracy import max_over

MIDDLE, UPPER = 0.5, 0.75  # levels of the held-out gaps; chosen on development runs, see notebook 09


@dataclass(frozen=True)
class ShareEstimate:
    """An estimated share of absent samples with its interval, as fractions, and the number of samples behind it."""

    share: float
    low: float
    high: float
    n_unlabelled: int
    n_held_out: int


def estimate_absent_share(
    target_logits: torch.Tensor,
    held_out_logits: torch.Tensor,
    split: ClassSplit,
    generator: torch.Generator,
    resamples: int = 1000,
) -> ShareEstimate:
    """The share of absent samples among unlabelled target images, with an interval meant to cover it in 95 of 100.

    target_logits (N, C), held_out_logits (M, C) : of the fine-tuned model on unlabelled images of all classes, and on
    images of seen classes that it was not trained on. Images that it was trained on have larger gaps, and the share
    comes out too large.

    With t the median of the held-out gaps, the share is 1 minus the part of unlabelled gaps from t on over the part of
    held-out gaps from t on. Absent images above t make it too small. So the interval takes its lower end from resamples
    of this estimate, but its upper end from resamples of the same estimate at the upper quartile, above which there
    are fewer absent images. Both sets of images are resampled, every image by itself. Raises UserError for logits
    without rows, of other classes or with NaN. Source: the estimate of a proportion of null hypotheses of Storey 2002,
    with held-out seen images as the null distribution; the interval is ours.
    """
    target = group_gaps(target_logits, split, "target")
    held_out = group_gaps(held_out_logits, split, "held-out").sort().values
    share = _share_from(MIDDLE, target, held_out)
    drawn = {MIDDLE: [], UPPER: []}
    for _ in range(resamples):
        some_target = target[torch.randint(len(target), (len(target),), generator=generator)]
        some_held_out = held_out[torch.randint(len(held_out), (len(held_out),), generator=generator)].sort().values
        for level, shares in drawn.items():
            shares.append(_share_from(level, some_target, some_held_out))
    low = torch.tensor(drawn[MIDDLE]).quantile(0.025).item()
    high = torch.tensor(drawn[UPPER]).quantile(0.975).item()
    return ShareEstimate(share, min(low, share), max(high, share), len(target), len(held_out))


def _share_from(level: float, target: torch.Tensor, held_out: torch.Tensor) -> float:
    """1 minus the ratio of target gaps to held-out gaps from a level of the sorted held-out gaps on; at least 0."""
    threshold = held_out[int(level * len(held_out))]
    ratio = (target >= threshold).double().mean() / (held_out >= threshold).double().mean()
    return 1 - min(1.0, ratio.item())


def group_gaps(logits: torch.Tensor, split: ClassSplit, name: str) -> torch.Tensor:
    """The largest seen minus the largest absent logit of (N, C) logits: (N,) float64, infinite for a masked group.

    name : of the logits, for messages. Raises UserError for logits without rows, of other classes or with NaN, and for
    a sample whose groups cannot be compared.
    """
    if logits.ndim != 2 or logits.shape[1] != split.num_classes or not len(logits):
        raise UserError(
            f"the {name} logits have shape {tuple(logits.shape)}; expected (N, {split.num_classes}) with at least one "
            "row"
        )
    gaps = max_over(logits, split.seen)[0].double() - max_over(logits, split.absent)[0].double()
    if gaps.isnan().any():  # a maximum keeps NaN
        raise UserError(
            f"the {name} logits hold NaN, or infinities that leave a sample no finite gap; drop these samples"
        )
    return gaps


def check_share(share: float) -> float:
    """The share itself. Raises UserError for one outside [0, 1]."""
    if not 0 <= share <= 1:
        raise UserError(f"the share of absent samples is {share}; expected a fraction from 0 to 1")
    return share
