"""Shifts of the absent logits over a study: how each method chooses gamma, and what the choice gives.

Where absent-class labels enter a choice, the row says *oracle*, and where unlabelled test images do, *transductive*;
every other gamma comes from the fine-tuning data.
"""

from collections.abc import Callable
from functools import cache, partial

import pandas as pd
import torch

from . import runs
from .analysis.calibration import (
    Choice,
    Fold,
    average_logit_gap,
    best_balanced,
    best_overall,
    pseudo_cross_validation,
)
from .analysis.estimators import ESTIMATORS, Evidence, estimate_gamma, matched_share_gamma
from .spec import RunSpec
from .split import ClassSplit
from .study import FINE_TUNED, PRE_TRAINED, Study, checkpoints_only

NONE, ORACLE = "none", "gamma* (oracle)"
CROSS_VALIDATED = {"pcv": best_overall, "pcv_balanced": best_balanced}
BRACKETED = "pcv_stand_in"  # the mean of pcv_balanced and stand_in_sure, which err to opposite sides on development runs
MATCHED, MATCHED_STAND_IN = TRANSDUCTIVE = ("matched_share (transductive)", "matched_stand_in (transductive)")
METHODS = (NONE, *ESTIMATORS, *CROSS_VALIDATED, BRACKETED, *TRANSDUCTIVE, ORACLE)


def folds_of(study: Study, spec: RunSpec) -> list[Fold]:
    """The folds of pseudo cross-validation of a run: held-out images of what each trained on, all of what it did not.

    Makes the fold runs that are missing. Rows and columns of the run's absent classes are dropped before anything is
    computed.
    """
    split, columns = study.split(spec), list(study.split(spec).seen)
    position = torch.full((split.num_classes,), -1)
    position[columns] = torch.arange(len(columns))
    folds = []
    for fold in runs.fold_specs(spec):
        runs.execute(fold, study.device)
        own = study.split(fold)
        pseudo = ClassSplit(len(columns), position[list(own.seen)].tolist())
        before, after = ([study.outputs(fold, epoch, part) for part in ("train", "test")] for epoch in (0, fold.epochs))
        rows = [split.is_seen(part.labels) & ~own.is_seen(part.labels) for part in after]
        rows[1] |= own.is_seen(after[1].labels)
        logits, pretrained = (torch.cat([part.logits[keep][:, columns] for part, keep in zip(parts, rows)]) for parts in (after, before))
        folds.append(Fold(logits, pretrained, position[torch.cat([part.labels[keep] for part, keep in zip(after, rows)])], pseudo))
    return folds


def choosers(study: Study, spec: RunSpec) -> dict[str, Callable[[], float]]:
    """Every method as a function that finds gamma of the fine-tuned model, in the order of `METHODS`.

    All see the fine-tuning data alone, but `TRANSDUCTIVE` (unlabelled test images too) and the oracle; those of
    cross-validation make their fold runs if missing.
    """
    after = study.fine_tuning_outputs(spec, spec.epochs)
    evidence = Evidence(after.logits, after.labels, study.split(spec), study.fine_tuning_outputs(spec, 0).logits)
    folds = cache(lambda: folds_of(study, spec))

    def crossed(choose: Choice) -> float:
        return pseudo_cross_validation(folds(), estimate_gamma("alg", evidence), choose)

    found = {NONE: lambda: 0.0} | {name: partial(estimate_gamma, name, evidence) for name in ESTIMATORS}
    found |= {name: partial(crossed, choose) for name, choose in CROSS_VALIDATED.items()}
    found[BRACKETED] = lambda: (found["pcv_balanced"]() + found["stand_in_sure"]()) / 2
    matched = cache(lambda: transductive(study.outputs(spec, spec.epochs, "test").logits, study.split(spec), found["stand_in"]()))
    found |= {name: lambda name=name: matched()[name] for name in TRANSDUCTIVE}
    return found | {ORACLE: lambda: study.curve(spec, spec.epochs).best().gamma}


def transductive(target_logits: torch.Tensor, split: ClassSplit, stand_in: float, share: float | None = None) -> dict[str, float]:
    """gamma by matching the share of absent predictions on unlabelled target samples, and its mean with the stand-in gamma.

    Arguments and errors as in `matched_share_gamma`; stand_in : from `stand_in_gamma`. Source: ours.
    """
    matched = matched_share_gamma(target_logits, split, share)
    return {MATCHED: matched, MATCHED_STAND_IN: (matched + stand_in) / 2}


def gammas(study: Study, spec: RunSpec) -> dict[str, float]:
    """gamma of the fine-tuned model by every method of `choosers`."""
    return {method: choose() for method, choose in choosers(study, spec).items()}


def calibrations(study: Study) -> pd.DataFrame:
    """Shifts and what they give: columns seed, checkpoint, method, gamma, acc_sy, acc_uy, acc_yy, share.

    The pre-trained model with no shift, ALG's and the oracle's; the fine-tuned one with every method of `gammas`. `share`
    is the part of the oracle's gain in Acc_Y/Y over no shift that a method reaches.
    """
    rows = []
    for spec in study.specs:
        start, end = study.curve(spec, 0), study.curve(spec, spec.epochs)
        before = study.fine_tuning_outputs(spec, 0)
        plain = {NONE: 0.0, "alg": average_logit_gap(before.logits, before.labels, study.split(spec)), ORACLE: start.best().gamma}
        for checkpoint, curve, shifts in (
            (PRE_TRAINED, start, plain),
            (FINE_TUNED, end, gammas(study, spec)),
        ):
            none, best = curve.at(0.0).acc_yy, curve.best().acc_yy
            for method, gamma in shifts.items():
                point = curve.at(gamma)
                share = (point.acc_yy - none) / (best - none) if best > none else float("nan")
                rows.append({"seed": spec.seed, "checkpoint": checkpoint, "method": method, **vars(point), "share": share})
    return pd.DataFrame(rows)


def curves(study: Study) -> pd.DataFrame:
    """The seen-absent curves: columns seed, checkpoint, gamma, acc_sy, acc_uy, acc_yy; one row per state."""
    frames = []
    for spec in study.specs:
        for checkpoint, epoch in study.checkpoints(spec).items():
            curve = study.curve(spec, epoch)
            frames.append(pd.DataFrame({
                "seed": spec.seed, "checkpoint": checkpoint, "gamma": curve.gamma, "acc_sy": curve.acc_sy,
                "acc_uy": curve.acc_uy, "acc_yy": curve.acc_yy,
            }))
    return pd.concat(frames, ignore_index=True)


def long_form(calibrated: pd.DataFrame) -> pd.DataFrame:
    """`calibrations` with one row per number: columns seed, checkpoint, method, metric, value."""
    return calibrated.melt(["seed", "checkpoint", "method"], ["gamma", "acc_sy", "acc_uy", "acc_yy", "share"], "metric")


def summary(study: Study, by_epoch: pd.DataFrame, calibrated: pd.DataFrame) -> pd.DataFrame:
    """Everything about both checkpoints in one tidy table: columns seed, checkpoint, metric, value.

    Metrics: those of `metrics_by_epoch`, and for each shift its gamma and accuracies, as in `gamma* (oracle): acc_uy`.
    """
    shifted = long_form(calibrated).query("method != @NONE")
    shifted["metric"] = shifted["method"] + ": " + shifted["metric"]
    columns = ["seed", "checkpoint", "metric", "value"]
    return pd.concat([checkpoints_only(study, by_epoch)[columns], shifted[columns]], ignore_index=True)
