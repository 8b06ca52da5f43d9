"""Calibration of a study's runs: gamma by each estimator, and the accuracies with it.

`ESTIMATORS` says which estimators use labels of absent classes (*oracle*) or unlabelled target images (*transductive*).
Every other gamma comes from the fine-tuning data.
"""

import pandas as pd

from ..analysis.gamma.estimators import ALG, NONE, ORACLE, Evidence, estimate_gamma, offered
from ..analysis.gamma.estimators.logit_gap import average_logit_gap
from ..analysis.gamma.estimators.pseudo_cv import Fold, best_overall
from ..core.run_spec import RunSpec
from ..runs.class_folds import folds_of, half_specs, third_specs
from ..runs.execute import state
from ..runs.run_set import FINE_TUNED, RunSet


def evidence(runs: RunSet, spec: RunSpec) -> Evidence:
    """The data of a finished run that estimators may use; folds whose runs were not made are left out."""
    after, test = runs.fine_tuning_outputs(spec, spec.epochs), runs.outputs(spec, spec.epochs, "test")
    return Evidence(
        logits=after.logits,
        labels=after.labels,
        split=runs.split(spec),
        pretrained_logits=runs.fine_tuning_outputs(spec, 0).logits,
        halves=_folds(runs, spec, half_specs(spec)),
        thirds=_folds(runs, spec, third_specs(spec)),
        target_logits=test.logits,
        target_labels=test.labels,
    )


def _folds(runs: RunSet, spec: RunSpec, fold_specs: list[RunSpec]) -> list[Fold] | None:
    made = fold_specs and all(state(fold.run_id) == "done" for fold in fold_specs)
    return folds_of(runs, spec, fold_specs) if made else None


def choose_gamma(runs: RunSet, spec: RunSpec, method: str) -> float:
    """gamma of the fine-tuned model by one estimator. Raises UserError as `estimate_gamma`."""
    return estimate_gamma(method, evidence(runs, spec))


def gammas(runs: RunSet, spec: RunSpec) -> dict[str, float]:
    """gamma of the fine-tuned model by every estimator that the finished runs allow."""
    found = evidence(runs, spec)
    return {method: estimate_gamma(method, found) for method in [NONE, *offered(found.holds)]}


def calibrations(runs: RunSet) -> pd.DataFrame:
    """gamma and accuracies by each method: columns seed, checkpoint, method, gamma, acc_sy, acc_uy, acc_yy, share.

    The fine-tuned network has every method of `gammas`, the others no shift, ALG's and the oracle's. `share` is the
    recovered gain: the method's gain in Acc_Y/Y over no shift, divided by the oracle's.
    """
    rows = []
    for spec in runs.specs:
        for checkpoint, (run, epoch) in runs.checkpoints(spec).items():
            curve, own = runs.curve(run, epoch), runs.fine_tuning_outputs(run, epoch)
            none, best = curve.at(0.0), curve.best()
            if checkpoint == FINE_TUNED:
                chosen = gammas(runs, spec)
            else:
                alg = average_logit_gap(own.logits, own.labels, runs.split(spec))
                chosen = {NONE: 0.0, ALG: alg, ORACLE: best.gamma}
            for method, gamma in chosen.items():
                point = curve.at(gamma)
                gain, most = point.acc_yy - none.acc_yy, best.acc_yy - none.acc_yy
                share = gain / most if most > 0 else float("nan")
                rows.append(
                    {"seed": spec.seed, "checkpoint": checkpoint, "method": method, **vars(point), "share": share}
                )
    return pd.DataFrame(rows)


def fold_choices(runs: RunSet) -> pd.DataFrame:
    """The gamma that each fold of PCV chooses, NaN if no shift keeps the pre-trained accuracy of its pseudo-absent
    classes.

    Columns: seed, folds (`halves` or `thirds`), fold, gamma, fallback: whether no fold of the run has a gamma, so that
    PCV falls back to ALG.
    """
    rows = []
    for spec in runs.specs:
        found = evidence(runs, spec)
        for kind, folds in (("halves", found.halves), ("thirds", found.thirds)):
            chosen = [best_overall(fold) for fold in folds or []]
            fallback = all(gamma is None for gamma in chosen)
            rows += [
                (spec.seed, kind, number, float("nan") if gamma is None else gamma, fallback)
                for number, gamma in enumerate(chosen)
            ]
    return pd.DataFrame(rows, columns=["seed", "folds", "fold", "gamma", "fallback"])


def curves(runs: RunSet) -> pd.DataFrame:
    """The seen-absent curves: columns seed, checkpoint, gamma, acc_sy, acc_uy, acc_yy; one row per state."""
    frames = []
    for spec in runs.specs:
        for checkpoint, (run, epoch) in runs.checkpoints(spec).items():
            curve = runs.curve(run, epoch)
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


def summary(by_checkpoint: pd.DataFrame, calibrated: pd.DataFrame) -> pd.DataFrame:
    """All metrics of each network compared in one tidy table: columns seed, checkpoint, metric, value.

    Metrics: those of `metrics_by_checkpoint`, and gamma and accuracies of each method, such as `gamma* (oracle):
    acc_uy`.
    """
    shifted = long_form(calibrated).query("method != @NONE")
    shifted["metric"] = shifted["method"] + ": " + shifted["metric"]
    columns = ["seed", "checkpoint", "metric", "value"]
    return pd.concat([by_checkpoint[columns], shifted[columns]], ignore_index=True)
