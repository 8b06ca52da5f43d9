"""gamma from fine-tuning samples that stand in for absent ones."""

from collections.abc import Callable

import torch

from ....core.class_split import ClassSplit
from ...metrics.accuracy import check_scores, max_over
from ..curve import state_midpoints
from .logit_gap import check_fine_tuning_data, finite


def stand_in_gamma(
    logits: torch.Tensor, pretrained_logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit,
    win_probability: Callable[[torch.Tensor], torch.Tensor] = torch.sigmoid,
) -> float:
    """The gamma of the largest expected accuracy when every fine-tuning sample also stands in for an absent one.

    logits, pretrained_logits : (N, C) after and before fine-tuning; labels : (N,) int64 of seen classes. As itself, a
    sample is right where its class leads the seen ones, and stays so while gamma is at most its gap. As a stand-in its
    class is taken for absent: the own logit is the pre-trained one plus the mean change of this sample's absent logits,
    and it wins once gamma exceeds the lead of the largest wrong seen logit. `win_probability` gives the chance that it is right
    among the absent classes from its lead over the largest of them: by default the two-class softmax. Groups count by
    their number of classes; among equals the smallest gamma. Raises UserError as `average_logit_gap`. Source: ours.
    """
    check_fine_tuning_data(logits, labels, split)
    check_scores(pretrained_logits, labels, split)
    logits, before, own = logits.double(), pretrained_logits.double(), labels[:, None]
    absent = list(split.absent)
    (top_s, leader), top_u = max_over(logits, split.seen), max_over(logits, absent)[0]
    pseudo_absent_logit = before.gather(1, own).squeeze(1) + (logits - before)[:, absent].mean(1)
    wrong_s = max_over(logits.scatter(1, own, -torch.inf), split.seen)[0]
    breakpoints, state = torch.cat([top_s - top_u, wrong_s - pseudo_absent_logit]).unique(return_inverse=True)
    lost, won = len(split.seen) * (leader == labels).double(), len(absent) * win_probability(pseudo_absent_logit - top_u)
    change = torch.zeros_like(breakpoints).index_add(0, state, torch.cat([-lost, won]))
    best = torch.cat([change.new_zeros(1), change.cumsum(0)]).argmax()
    return finite("stand_in", state_midpoints(breakpoints)[best].item())
