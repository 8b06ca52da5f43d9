"""Every post-hoc treatment of the fine-tuned network side by side: shifts by gamma, the other baselines, and WiSE.

One row per seed and method, on test samples; what a method costs is measured apart, because seconds are no result.
"""

import time
from collections.abc import Callable
from functools import partial

import pandas as pd
import torch

from . import paths, runs, runtime, shifts, store
from .analysis.accuracy import accuracies
from .analysis.baselines import BASELINES, PostHoc, interpolate
from .analysis.calibration import seen_absent_curve, shift_logits
from .analysis.ncm import class_means
from .analysis.reliability import calibration_errors
from .errors import UserError
from .outputs import Outputs, extract
from .spec import RunSpec
from .study import Study

WISE, ALPHA = "wise", 0.5  # the interpolation's middle, which its authors take where there is nothing to choose by
ORACLES = {shifts.ORACLE, *(name for name, baseline in BASELINES.items() if baseline.oracle)}
MEASURES = ("acc_sy", "acc_uy", "acc_yy", "acc_ss", "acc_uu", "ausuc", "ece_y", "ece_s", "ece_u")


def interpolated_outputs(study: Study, spec: RunSpec) -> Outputs:
    """Test Outputs of the network halfway between before and after fine-tuning (WiSE); stored once made."""
    return Outputs(**store.kept(paths.run_interpolated(spec.run_id, ALPHA, "test"), lambda: vars(_interpolate(study, spec))))


def _interpolate(study: Study, spec: RunSpec) -> Outputs:
    before, after = runs.both_models(spec, study.device)
    after.load_state_dict(interpolate(before.state_dict(), after.state_dict(), ALPHA))
    index = study.outputs(spec, 0, "test").index
    prepared = study.prepared(spec, index, next(after.parameters()).device)
    return extract(after, prepared.images, study.manifest.labels, index, prepared.normalize)


def treatments(study: Study, spec: RunSpec) -> dict[str, Callable[[], torch.Tensor]]:
    """Each method as a function that gives the scores (N, C) of the test samples: shifts, `wise`, then `BASELINES`."""
    split, test = study.split(spec), study.outputs(spec, spec.epochs, "test")
    train, own = study.outputs(spec, spec.epochs, "train"), study.fine_tuning_outputs(spec, spec.epochs)
    inputs = PostHoc(split, test.features, test.logits, *study.head(spec, spec.epochs), own.logits, own.labels,
                     study.fine_tuning_outputs(spec, 0).logits, class_means(train.features, train.labels, split.num_classes))

    def shifted(choose: Callable[[], float]) -> torch.Tensor:
        return shift_logits(test.logits, split, choose())

    found = {method: partial(shifted, choose) for method, choose in shifts.choosers(study, spec).items()}
    found[WISE] = lambda: interpolated_outputs(study, spec).logits
    return found | {name: partial(baseline.apply, inputs) for name, baseline in BASELINES.items()}


def comparison(study: Study) -> pd.DataFrame:
    """What every treatment gives: columns seed, method, oracle, metric, value.

    Metrics: the five accuracies, `ausuc`, and the expected calibration errors `ece_y ece_s ece_u`, NaN where scores are
    no logits. The row `none` is the network before any treatment. `oracle` marks what used absent-class labels. A method
    that the benchmark does not allow is left out with a line in the log.
    """
    rows = []
    for spec in study.specs:
        split, labels = study.split(spec), study.outputs(spec, spec.epochs, "test").labels
        for method, treat in treatments(study, spec).items():
            try:
                scores = treat()
            except UserError as error:  # such as a temperature for a group of one class
                runtime.log(f"{method} left out: {error}")
                continue
            measured = accuracies(scores, labels, split) | {"ausuc": seen_absent_curve(scores, labels, split).ausuc}
            if method not in BASELINES or BASELINES[method].scores_are_logits:
                measured |= calibration_errors(scores, labels, split)
            rows += [(spec.seed, method, method in ORACLES, name, measured.get(name, float("nan"))) for name in MEASURES]
    return pd.DataFrame(rows, columns=["seed", "method", "oracle", "metric", "value"])


def costs(study: Study) -> pd.DataFrame:
    """What a treatment costs beyond the fine-tuning, on this machine and the first seed: columns method, seconds, extra_training.

    seconds : from stored Outputs to scores, for WiSE with the forward passes of the network between.
    extra_training : images shown to networks that the method trains, over those shown in the fine-tuning.
    """
    spec = study.specs[0]
    rows = []
    shown = sum(len(_trained_rows(study, fold)) for fold in runs.fold_specs(spec)) / len(_trained_rows(study, spec))
    for method in treatments(study, spec):
        for treat in ((treatments(study, spec) | {WISE: partial(_interpolate, study, spec)})[method] for _ in range(2)):  # the first warms up
            begin = time.perf_counter()
            treat()
        rows.append((method, time.perf_counter() - begin, shown if method.startswith("pcv") else 0.0))
    return pd.DataFrame(rows, columns=["method", "seconds", "extra_training"])


def _trained_rows(study: Study, spec: RunSpec) -> torch.Tensor:
    split, train = study.split(spec), runs.split_parts(study.manifest, spec, study.split(spec))["train"]
    return train[split.is_seen(study.manifest.labels[train])]
