"""gamma from a run's own seen samples and its folds' pseudo-absent samples, each corrected for its origin."""

from collections.abc import Sequence

import torch

from ....core.class_split import ClassSplit
from ....core.errors import UserError
from ...metrics.accuracy import max_over
from ..curve import best_gamma
from .absent_share import check_share
from .logit_gap import check_fine_tuning_data, finite, largest_logit_gap
from .pseudo_cv import Fold


def transported_gamma(
    logits: torch.Tensor,
    labels: torch.Tensor,
    split: ClassSplit,
    folds: Sequence[Fold],
    absent_share: float | None = None,
) -> float:
    """The mean over folds of the gamma of the largest expected accuracy at deployment.

    logits (N, C), labels (N,) int64 : of the fine-tuned model on the fine-tuning data; folds : of cross-validation over
    classes; absent_share : of the samples at deployment, None for the share of absent classes.

    The gap of a sample is its largest seen minus its largest absent logit. *Seen samples* are the run's own training
    samples. Training gaps overstate test gaps, so each is lowered by the difference that the fold shows between its
    trained and its held-out samples, and counts as right as often as a held-out sample of the fold does against a
    trained one. *Absent samples* are the fold's pseudo-absent ones, which its network never saw. Their gaps are raised
    by what the run's `largest_logit_gap` exceeds the fold's.

    Raises UserError as `average_logit_gap`, for a share outside [0, 1], and for a fold without a right held-out sample.
    Source: ours.
    """
    check_fine_tuning_data(logits, labels, split)
    share = len(split.absent) / split.num_classes if absent_share is None else check_share(absent_share)
    own_gaps, best_seen, _ = _gaps(logits, split)
    own_gaps = own_gaps[best_seen == labels]
    own_largest = largest_logit_gap(logits, labels, split)
    found = []
    for fold in folds:
        gaps, best_seen, best_absent = _gaps(fold.logits, fold.split)
        pseudo_seen = fold.split.is_seen(fold.labels)
        held_out, trained = fold.held_out & pseudo_seen, fold.trained
        right = best_seen == fold.labels
        if not (right & held_out).any():
            raise UserError(
                "transported_cv needs in every fold a held-out image that the fold gets right; give more images of each"
                " class, or take another estimator"
            )
        lower = gaps[trained & right].mean() - gaps[held_out & right].mean()
        kept = right[held_out].double().mean() / right[trained].double().mean()
        raised = own_largest - largest_logit_gap(fold.logits[trained], fold.labels[trained], fold.split)
        won = (best_absent == fold.labels)[~pseudo_seen].double()
        found.append(
            best_gamma(
                own_gaps - lower,
                torch.full_like(own_gaps, 1 - share) * kept / len(labels),
                gaps[~pseudo_seen] + raised,
                share * won / len(won),
            )
        )
    return finite("transported_cv", sum(found) / len(found))


def _gaps(logits: torch.Tensor, split: ClassSplit) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gap of each sample (N,) float64, and its best seen and its best absent class (N,)."""
    top_seen, best_seen = max_over(logits.double(), split.seen)
    top_absent, best_absent = max_over(logits.double(), split.absent)
    return top_seen - top_absent, best_seen, best_absent
