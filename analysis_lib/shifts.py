"""Shifts of the absent logits over a study: how each method chooses gamma, and what the choice gives.

Where absent-class labels enter a choice, the row says *oracle*; every other gamma comes from the fine-tuning data.
"""

import pandas as pd
import torch

from . import runs, runtime
from .analysis.calibration import (
    Fold,
    average_logit_gap,
    balanced_accuracy,
    overall_accuracy,
    pseudo_cross_validation,
    shift_logits,
)
from .analysis.estimators import ESTIMATORS, Evidence, estimate_gamma
from .analysis.uncertainty import bootstrap_differences
from .spec import RunSpec
from .split import ClassSplit
from .study import FINE_TUNED, PRE_TRAINED, Study, checkpoints_only

NONE, ORACLE = "none", "gamma* (oracle)"
CROSS_VALIDATED = {"pcv": overall_accuracy, "pcv_balanced": balanced_accuracy}
METHODS = (NONE, *ESTIMATORS, *CROSS_VALIDATED, ORACLE)


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


def gammas(study: Study, spec: RunSpec) -> dict[str, float]:
    """gamma of the fine-tuned model by every method, in the order of `METHODS`; makes PCV's fold runs if missing.

    All but the oracle see the fine-tuning data alone.
    """
    split, after = study.split(spec), study.fine_tuning_outputs(spec, spec.epochs)
    evidence = Evidence(after.logits, after.labels, split, study.fine_tuning_outputs(spec, 0).logits)
    estimated = {name: estimate_gamma(name, evidence) for name in ESTIMATORS}
    folds = folds_of(study, spec)
    crossed = {name: pseudo_cross_validation(folds, estimated["alg"], score) for name, score in CROSS_VALIDATED.items()}
    return {NONE: 0.0, **estimated, **crossed, ORACLE: study.curve(spec, spec.epochs).best().gamma}


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


def calibration_intervals(study: Study, calibrated: pd.DataFrame) -> pd.DataFrame:
    """Every state of `calibrations` minus the pre-trained model without a shift, with paired bootstrap intervals over test samples and seeds.

    Columns: state, metric, mean, low, high, n_samples, n_seeds. A state reads `<checkpoint>, <method>`.
    """
    values = []
    for spec in study.specs:
        split, rows = study.split(spec), []
        own = calibrated[calibrated["seed"] == spec.seed]
        tests = {checkpoint: study.outputs(spec, epoch, "test") for checkpoint, epoch in study.checkpoints(spec).items()}
        for line in own.itertuples():
            test = tests[line.checkpoint]
            right = (shift_logits(test.logits, split, line.gamma).argmax(1) == test.labels).double()
            seen = split.is_seen(test.labels)
            rows += [right.where(seen, torch.nan), right.where(~seen, torch.nan), right]
        values.append(torch.stack(rows))
    states = (own["checkpoint"] + ", " + own["method"]).tolist()
    against = f"{PRE_TRAINED}, {NONE}"
    keys = ("acc_sy", "acc_uy", "acc_yy")
    names = [f"{state}: {key}" for state in states for key in keys]
    pairs = [(f"{state}: {key}", f"{against}: {key}") for state in states if state != against for key in keys]
    table = bootstrap_differences(values, names, pairs, runtime.generator_for("bootstrap", study.benchmark))
    state_and_metric = table.pop("a").str.rsplit(": ", n=1)
    return table.drop(columns="b").assign(state=state_and_metric.str[0], metric=state_and_metric.str[1])[
        ["state", "metric", "mean", "low", "high", "n_samples", "n_seeds"]]


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
