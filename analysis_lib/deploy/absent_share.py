"""The share of absent samples that a calibration assumes, and where it comes from."""

from dataclasses import asdict

import torch

from ..analysis.gamma.estimators import ESTIMATORS, TYPED
from ..analysis.gamma.estimators.absent_share import check_share, estimate_absent_share
from ..core.class_split import ClassSplit
from ..core.errors import UserError
from ..core.seeds import generator_for

CLASSES, GIVEN, ESTIMATED = "classes", "given", "estimated"  # the sources of a share


def check_options(method: str, absent_share: float | None, has_unlabelled: bool, has_held_out: bool) -> None:
    """Raise UserError for a share or images that the resolved method has no use for, and for an impossible share."""
    if absent_share is not None:
        check_share(absent_share)
    if has_held_out and not has_unlabelled:
        raise UserError(
            "held-out images of seen classes serve only to estimate the absent share of unlabelled images; give "
            "unlabelled images too, or leave them out"
        )
    if ESTIMATORS[method].takes_share:
        return
    typed = {name: short for short, name in TYPED.items()}
    takers = ", ".join(typed.get(name, name) for name, known in ESTIMATORS.items() if known.takes_share)
    for given, what in ((absent_share is not None, "an absent share"), (has_unlabelled, "unlabelled images")):
        if given:
            raise UserError(f"{method} has no use for {what}; leave that out, or choose one of the methods {takers}")


def assumed_share(
    absent_share: float | None,
    unlabelled_logits: torch.Tensor | None,
    held_out_logits: torch.Tensor | None,
    split: ClassSplit,
) -> dict:
    """The share for the estimators, as the report states it: value, source and, where it was made, the estimate.

    A given share comes before an estimated one, and that before the share of the classes. unlabelled_logits (N, C),
    held_out_logits (M, C) : both are needed for an estimate. Raises UserError as `estimate_absent_share`.
    """
    estimate = None
    if unlabelled_logits is not None and held_out_logits is not None:
        generator = generator_for("absent share")
        estimate = asdict(estimate_absent_share(unlabelled_logits, held_out_logits, split, generator))
    if absent_share is not None:
        value, source = absent_share, GIVEN
    elif estimate:
        value, source = estimate["share"], ESTIMATED
    else:
        value, source = len(split.absent) / split.num_classes, CLASSES
    return {"value": value, "source": source, "estimate": estimate}
