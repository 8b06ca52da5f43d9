"""gamma from fine-tuning samples that also serve as stand-ins for absent-class samples."""

from collections.abc import Callable

import torch

from ....core.class_split import ClassSplit
from ...metrics.accuracy import check_scores, max_over
from ..curve import state_midpoints
from .logit_gap import check_fine_tuning_data, finite


def stand_in_gamma(
    logits: torch.Tensor,
    pretrained_logits: torch.Tensor,
    labels: torch.Tensor,
    split: ClassSplit,
    win_probability: Callable[[torch.Tensor], torch.Tensor] = torch.sigmoid,
) -> float:
    """The gamma of the largest expected accuracy, with every fine-tuning sample also used as an absent-class stand-in.

    logits, pretrained_logits : (N, C) after and before fine-tuning; labels : (N,) int64 of seen classes.

    As a seen sample, it is right if its class has the largest seen logit and gamma is at most its gap. As a stand-in,
    its class is treated as absent: its pseudo-absent logit is the pre-trained logit of its class plus the mean change
    of its absent logits. It is predicted absent once gamma exceeds the largest wrong seen logit minus this logit.
    `win_probability` then gives the probability that it is right among the absent classes, from the pseudo-absent logit
    minus the largest absent logit; by default the two-class softmax.

    Groups are weighted by their number of classes. Among equals the smallest gamma is chosen. Raises UserError as
    `average_logit_gap`. Source: ours.
    """
    check_fine_tuning_data(logits, labels, split)
    check_scores(pretrained_logits, labels, split)
    logits, before = logits.double(), pretrained_logits.double()
    own = labels[:, None]
    absent = list(split.absent)
    top_s, best_seen = max_over(logits, split.seen)
    top_u, _ = max_over(logits, absent)
    pseudo_absent_logit = before.gather(1, own).squeeze(1) + (logits - before)[:, absent].mean(1)
    wrong_s, _ = max_over(logits.scatter(1, own, -torch.inf), split.seen)
    breakpoints, state = torch.cat([top_s - top_u, wrong_s - pseudo_absent_logit]).unique(return_inverse=True)
    lost = len(split.seen) * (best_seen == labels).double()
    won = len(absent) * win_probability(pseudo_absent_logit - top_u)
    change = torch.zeros_like(breakpoints).index_add(0, state, torch.cat([-lost, won]))
    best = torch.cat([change.new_zeros(1), change.cumsum(0)]).argmax()
    return finite("stand_in", state_midpoints(breakpoints)[best].item())
