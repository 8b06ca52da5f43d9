"""Calibration of a study's runs: gamma by each estimator, and the accuracies with it.

`ESTIMATORS` says which estimators use labels of absent classes (*oracle*) or unlabelled target images (*transductive*).
Every other gamma comes from the fine-tuning data.
"""

import pandas as pd

from ..analysis.gamma.estimators import ALG, ESTIMATORS, FOLDS, NONE, ORACLE, Evidence, estimate_gamma
from ..analysis.gamma.estimators.logit_gap import average_logit_gap
from ..core.run_spec import RunSpec
from ..runs.pcv_folds import folds_of
from ..runs.run_set import FINE_TUNED, PRE_TRAINED, RunSet
from .accuracy import checkpoints_only


def evidence(runs: RunSet, spec: RunSpec, folds: bool = True) -> Evidence:
    """The data of a finished run that estimators may use; without folds, if their runs were not made."""
    after, test = runs.fine_tuning_outputs(spec, spec.epochs), runs.outputs(spec, spec.epochs, "test")
    return Evidence(
        after.logits,
        after.labels,
        runs.split(spec),
        runs.fine_tuning_outputs(spec, 0).logits,
        folds_of(runs, spec) if folds else None,
        test.logits,
        test.labels,
    )


def choose_gamma(runs: RunSet, spec: RunSpec, method: str) -> float:
    """gamma of the fine-tuned model by one estimator. Raises UserError as `estimate_gamma`."""
    return estimate_gamma(method, evidence(runs, spec, folds=FOLDS in ESTIMATORS[method].needs))


def gammas(runs: RunSet, spec: RunSpec) -> dict[str, float]:
    """gamma of the fine-tuned model by every estimator."""
    found = evidence(runs, spec)
    return {method: estimate_gamma(method, found) for method in ESTIMATORS}


def calibrations(runs: RunSet) -> pd.DataFrame:
    """gamma and accuracies by each method: columns seed, checkpoint, method, gamma, acc_sy, acc_uy, acc_yy, share.

    The pre-trained model has no shift, ALG's and the oracle's; the fine-tuned one every method of `gammas`. `share` is
    the recovered gain: the method's gain in Acc_Y/Y over no shift, divided by the oracle's.
    """
    rows = []
    for spec in runs.specs:
        start, end = runs.curve(spec, 0), runs.curve(spec, spec.epochs)
        before = runs.fine_tuning_outputs(spec, 0)
        before_gammas = {
            NONE: 0.0,
            ALG: average_logit_gap(before.logits, before.labels, runs.split(spec)),
            ORACLE: start.best().gamma,
        }
        shifted = ((PRE_TRAINED, start, before_gammas), (FINE_TUNED, end, gammas(runs, spec)))
        for checkpoint, curve, chosen in shifted:
            none, best = curve.at(0.0).acc_yy, curve.best().acc_yy
            for method, gamma in chosen.items():
                point = curve.at(gamma)
                share = (point.acc_yy - none) / (best - none) if best > none else float("nan")
                rows.append(
                    {"seed": spec.seed, "checkpoint": checkpoint, "method": method, **vars(point), "share": share}
                )
    return pd.DataFrame(rows)


def curves(runs: RunSet) -> pd.DataFrame:
    """The seen-absent curves: columns seed, checkpoint, gamma, acc_sy, acc_uy, acc_yy; one row per state."""
    frames = []
    for spec in runs.specs:
        for checkpoint, epoch in runs.checkpoints(spec).items():
            curve = runs.curve(spec, epoch)
            columns = {
                "seed": spec.seed,
                "checkpoint": checkpoint,
                "gamma": curve.gamma,
                "acc_sy": curve.acc_sy,
                "acc_uy": curve.acc_uy,
                "acc_yy": curve.acc_yy,
            }
            frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def long_form(calibrated: pd.DataFrame) -> pd.DataFrame:
    """`calibrations` with one row per number: columns seed, checkpoint, method, metric, value."""
    return calibrated.melt(["seed", "checkpoint", "method"], ["gamma", "acc_sy", "acc_uy", "acc_yy", "share"], "metric")


def summary(runs: RunSet, by_epoch: pd.DataFrame, calibrated: pd.DataFrame) -> pd.DataFrame:
    """All metrics of both checkpoints in one tidy table: columns seed, checkpoint, metric, value.

    Metrics: those of `metrics_by_epoch`, and gamma and accuracies of each method, such as `gamma* (oracle): acc_uy`.
    """
    shifted = long_form(calibrated).query("method != @NONE")
    shifted["metric"] = shifted["method"] + ": " + shifted["metric"]
    columns = ["seed", "checkpoint", "metric", "value"]
    return pd.concat([checkpoints_only(runs, by_epoch)[columns], shifted[columns]], ignore_index=True)
