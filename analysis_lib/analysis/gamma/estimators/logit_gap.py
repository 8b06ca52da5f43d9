"""gamma from the mean or the largest logit gap on the fine-tuning data."""

import math

import torch

from ....core.class_split import ClassSplit
from ....core.errors import UserError
from ...chunks import by_rows
from ...metrics.accuracy import check_scores, max_over


def check_fine_tuning_data(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> None:
    """Check the input of estimators: rows of at least two seen classes and of no absent one. Raises UserError."""
    check_scores(logits, labels, split)
    if not len(labels):
        raise UserError("estimating gamma needs fine-tuning data; there are no rows")
    if not split.is_seen(labels).all():
        count = int((~split.is_seen(labels)).sum())
        raise UserError(
            f"estimating gamma takes fine-tuning data of seen classes only; {count} rows have absent labels, drop them"
        )
    if len(split.seen) == 1:
        raise UserError("estimating gamma needs at least two seen classes: with one there is no wrong seen logit")


def finite(method: str, gamma: float) -> float:
    """Return gamma. Raises UserError if it is NaN or infinite."""
    if not math.isfinite(gamma):
        raise UserError(
            f"{method} finds no finite gamma ({gamma}): some logits are infinite; drop classes that are never predicted"
        )
    return gamma


def average_logit_gap(train_logits: torch.Tensor, train_labels: torch.Tensor, split: ClassSplit) -> float:
    """gamma_ALG: the mean wrong seen logit minus the mean absent logit, on the fine-tuning data.

    train_logits : (N, C) in eval mode without augmentation; train_labels : (N,) int64, all of seen classes. Raises
    UserError when a label is absent (the estimator must not see absent data) or when only one class is seen.
    Source: paper section 6, ALG.
    """
    check_fine_tuning_data(train_logits, train_labels, split)

    def gaps(some: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = some.double()
        own = logits.gather(1, labels[:, None]).squeeze(1)
        wrong_seen = (logits[:, list(split.seen)].sum(1) - own) / (len(split.seen) - 1)
        return wrong_seen - logits[:, list(split.absent)].mean(1)

    return by_rows(gaps, train_logits, train_labels).mean().item()


def largest_logit_gap(train_logits: torch.Tensor, train_labels: torch.Tensor, split: ClassSplit) -> float:
    """The mean over samples of the largest wrong seen logit minus the largest absent logit.

    Shapes, units and errors as in `average_logit_gap`. Maxima replace its means because the prediction depends on the
    maxima. Source: ours.
    """
    check_fine_tuning_data(train_logits, train_labels, split)

    def gaps(some: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        wrong = some.double().scatter(1, labels[:, None], -torch.inf)
        return max_over(wrong, split.seen)[0] - max_over(wrong, split.absent)[0]

    return by_rows(gaps, train_logits, train_labels).mean().item()
