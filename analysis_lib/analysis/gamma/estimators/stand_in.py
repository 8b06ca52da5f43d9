"""gamma from fine-tuning samples that also serve as stand-ins for absent-class samples."""

from collections.abc import Callable

import torch

from ....core.class_split import ClassSplit
from ...chunks import by_rows
from ...metrics.accuracy import check_scores, max_over
from ..curve import best_gamma
from .absent_share import check_share
from .logit_gap import check_fine_tuning_data, finite


def stand_in_gamma(
    logits: torch.Tensor,
    pretrained_logits: torch.Tensor,
    labels: torch.Tensor,
    split: ClassSplit,
    win_probability: Callable[[torch.Tensor], torch.Tensor] = torch.sigmoid,
    absent_share: float | None = None,
) -> float:
    """The gamma of the largest expected accuracy, with every fine-tuning sample also used as an absent-class stand-in.

    logits, pretrained_logits : (N, C) after and before fine-tuning; labels : (N,) int64 of seen classes.

    As a seen sample, it is right if its class has the largest seen logit and gamma is at most its gap. As a stand-in,
    its class is treated as absent: its pseudo-absent logit is the pre-trained logit of its class plus the mean change
    of its absent logits. It is predicted absent once gamma exceeds the largest wrong seen logit minus this logit.
    `win_probability` then gives the probability that it is right among the absent classes, from the pseudo-absent logit
    minus the largest absent logit; by default the two-class softmax.

    absent_share : of absent samples where the model will be used, a fraction; it weighs the stand-ins against the seen
    samples. None takes the share of absent classes, which is right if all classes are equally frequent. Among equals
    the smallest gamma is chosen. Raises UserError as `average_logit_gap`, and for a share outside [0, 1]. Source: ours.
    """
    check_fine_tuning_data(logits, labels, split)
    pseudo_absent_logit, wrong_s = _stand_ins(logits, pretrained_logits, labels, split)
    top_s, best_seen = max_over(logits, split.seen)
    top_s, top_u = top_s.double(), max_over(logits, split.absent)[0].double()
    seen_weight, absent_weight = len(split.seen), len(split.absent)
    if absent_share is not None:
        seen_weight, absent_weight = 1 - check_share(absent_share), absent_share
    lost = seen_weight * (best_seen == labels).double()
    won = absent_weight * win_probability(pseudo_absent_logit - top_u)
    return finite("stand_in", best_gamma(top_s - top_u, lost, wrong_s - pseudo_absent_logit, won))


def stand_in_gaps(
    logits: torch.Tensor, pretrained_logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit
) -> torch.Tensor:
    """The gaps (N,) of fine-tuning samples as stand-ins: their largest wrong seen logit minus their largest absent one.

    The absent logits include the pseudo-absent one. Arguments and errors as `stand_in_gamma`. Source: ours.
    """
    check_fine_tuning_data(logits, labels, split)
    pseudo_absent_logit, wrong_s = _stand_ins(logits, pretrained_logits, labels, split)
    return wrong_s - torch.maximum(pseudo_absent_logit, max_over(logits, split.absent)[0].double())


def _stand_ins(
    logits: torch.Tensor, pretrained_logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit
) -> tuple[torch.Tensor, torch.Tensor]:
    """The pseudo-absent logit and the largest wrong seen logit of every sample, both (N,) float64."""
    check_scores(pretrained_logits, labels, split)

    def both(after: torch.Tensor, before: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        after, before, own = after.double(), before.double(), labels[:, None]
        pseudo_absent_logit = before.gather(1, own).squeeze(1) + (after - before)[:, list(split.absent)].mean(1)
        return torch.stack([pseudo_absent_logit, max_over(after.scatter(1, own, -torch.inf), split.seen)[0]], 1)

    return by_rows(both, logits, pretrained_logits, labels).unbind(1)
