"""Decomposition of the softmax: P(y|x) = P(group of y|x) * p(y|x, group of y)."""

from dataclasses import dataclass

import torch

from ...core.class_split import ClassSplit
from .accuracy import by_group, check_scores, max_over


@dataclass(frozen=True)
class SoftmaxDecomposition:
    """Per-sample parts of the softmax, each (N,) float64, and whether each label is seen, (N,) bool.

    p_absent : P(U|x), the probability of all absent classes together; P(S|x) is 1 - P(U|x).
    p_within : p(y|x, G) with G the group of the true class.
    right_within : argmax inside G is the true class.
    sent_away : the predicted class is outside G.
    """

    seen: torch.Tensor
    p_absent: torch.Tensor
    p_within: torch.Tensor
    right_within: torch.Tensor
    sent_away: torch.Tensor

    def summary(self) -> dict[str, float]:
        """Means over the samples of each group, as fractions; NaN for an empty group.

        `wrong_group_u` is the share of absent-class samples that are right among U and lost only to a seen class,
        so that Acc_U/Y = Acc_U/U - wrong_group_u.
        """
        values = {
            "p_absent": self.p_absent,
            "p_within": self.p_within,
            "confusion": self.sent_away.double(),
            "wrong_within": (~self.right_within).double(),
            "wrong_group": (self.right_within & self.sent_away).double(),
        }
        return by_group(values, self.seen)


def softmax_decomposition(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> SoftmaxDecomposition:
    """P(G|x), p(y|x,G) and the confusion between the groups, for each sample.

    logits : (N, C); labels : (N,) int64. The predicted group is that of the largest logit, as for argmax; the group of
    the larger P(G|x) would be another classifier. Raises UserError for shapes or labels that do not fit. Source: paper
    section 5.
    """
    check_scores(logits, labels, split)
    seen = split.is_seen(labels)
    log_p = torch.log_softmax(logits.double(), 1)
    log_s = log_p[:, list(split.seen)].logsumexp(1)
    log_u = log_p[:, list(split.absent)].logsumexp(1)
    log_y = log_p.gather(1, labels[:, None]).squeeze(1)
    right_s = max_over(logits, split.seen)[1] == labels
    right_u = max_over(logits, split.absent)[1] == labels
    return SoftmaxDecomposition(
        seen=seen,
        p_absent=log_u.exp(),
        p_within=(log_y - torch.where(seen, log_s, log_u)).exp(),
        right_within=torch.where(seen, right_s, right_u),
        sent_away=split.is_seen(logits.argmax(1)) != seen,
    )
