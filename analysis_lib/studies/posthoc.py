"""Post-hoc methods for the fine-tuned network compared: shifts by gamma, the other baselines, WiSE, and an upper bound.

Accuracies are on test samples, per seed and method. Costs are measured apart, because seconds are not reproducible.
"""

import time
from collections.abc import Callable
from functools import partial

import pandas as pd
import torch

from ..analysis.gamma.curve import seen_absent_curve, shift_logits
from ..analysis.gamma.estimators import ESTIMATORS, HALVES, NONE, THIRDS, estimate_gamma, offered
from ..analysis.gamma.posthoc import BASELINES, PostHoc
from ..analysis.metrics.accuracy import accuracies
from ..analysis.metrics.calibration_error import calibration_errors
from ..analysis.metrics.ncm import class_means
from ..core import files, paths
from ..core.errors import UserError
from ..core.progress import log
from ..core.run_spec import RunSpec
from ..models.weight_space import interpolate
from ..runs.class_folds import half_specs, third_specs
from ..runs.execute import load_before_after
from ..runs.outputs import Outputs, extract
from ..runs.plan import upper_bound
from ..runs.rows import training_rows
from ..runs.run_set import RunSet
from . import calibration

WISE, ALPHA = "wise", 0.5  # the midpoint of the interpolation, which its authors take if there is no data to choose by
WISE_SHIFTED, ALL_CLASSES = "wise, gamma* (oracle)", "fine-tuned on all classes (oracle)"
MEASURES = ("acc_sy", "acc_uy", "acc_yy", "acc_ss", "acc_uu", "ausuc", "ece_y", "ece_s", "ece_u")


def is_oracle(method: str) -> bool:
    """Whether a method uses labels of absent classes."""
    entry = ESTIMATORS.get(method) or BASELINES.get(method)
    return method in (WISE_SHIFTED, ALL_CLASSES) or (entry is not None and entry.oracle)


def interpolated_outputs(runs: RunSet, spec: RunSpec) -> Outputs:
    """Test Outputs of the network halfway between before and after fine-tuning (WiSE), computed once and cached."""
    path = paths.run_interpolated(spec.run_id, ALPHA, "test")
    return Outputs(**files.cached(path, lambda: vars(_interpolate(runs, spec))))


def _interpolate(runs: RunSet, spec: RunSpec) -> Outputs:
    before, after = load_before_after(spec, runs.device)
    after.load_state_dict(interpolate(before.state_dict(), after.state_dict(), ALPHA))
    index = runs.outputs(spec, 0, "test").index
    prepared = runs.prepared(spec, index, next(after.parameters()).device)
    return extract(after, prepared.images, runs.manifest.labels, index, prepared.normalize)


def treatments(runs: RunSet, spec: RunSpec) -> dict[str, Callable[[], torch.Tensor]]:
    """Each method as a function that returns scores (N, C) of the test samples.

    Shifts come first, then WiSE as it is and with its best shift, `BASELINES`, and the upper bound: a network that was
    fine-tuned on all classes.
    """
    split, test = runs.split(spec), runs.outputs(spec, spec.epochs, "test")
    train, own = runs.outputs(spec, spec.epochs, "train"), runs.fine_tuning_outputs(spec, spec.epochs)
    weight, bias = runs.head(spec, spec.epochs)
    pretrained_weight, pretrained_bias = runs.head(spec, 0)
    inputs = PostHoc(
        split=split,
        features=test.features,
        logits=test.logits,
        weight=weight,
        bias=bias,
        pretrained_weight=pretrained_weight,
        pretrained_bias=pretrained_bias,
        train_logits=own.logits,
        train_labels=own.labels,
        pretrained_train_logits=runs.fine_tuning_outputs(spec, 0).logits,
        class_means=class_means(train.features, train.labels, split.num_classes),
    )
    evidence = calibration.evidence(runs, spec)

    def shifted(method: str) -> torch.Tensor:
        return shift_logits(test.logits, split, estimate_gamma(method, evidence))

    def wise_shifted() -> torch.Tensor:
        logits = interpolated_outputs(runs, spec).logits
        return shift_logits(logits, split, seen_absent_curve(logits, test.labels, split).best().gamma)

    found = {method: partial(shifted, method) for method in [NONE, *offered(evidence.holds)]}
    found[WISE] = lambda: interpolated_outputs(runs, spec).logits
    found[WISE_SHIFTED] = wise_shifted
    found |= {name: partial(baseline.apply, inputs) for name, baseline in BASELINES.items()}
    found[ALL_CLASSES] = lambda: runs.outputs(upper_bound(spec), spec.epochs, "test").logits
    return found


def comparison(runs: RunSet) -> pd.DataFrame:
    """Accuracies and calibration errors of every method: columns seed, method, oracle, metric, value.

    Metrics: the five accuracies, `ausuc`, and the expected calibration errors `ece_y ece_s ece_u`, NaN if the scores
    are not logits. The method `none` is the fine-tuned network as it is. `oracle` marks methods that use labels of
    absent classes. A method that is not possible on the benchmark is left out with a line in the log.
    """
    rows = []
    for spec in runs.specs:
        split, labels = runs.split(spec), runs.outputs(spec, spec.epochs, "test").labels
        for method, treat in treatments(runs, spec).items():
            try:
                scores = treat()
            except UserError as error:  # such as a temperature for a group of one class
                log(f"{method} left out: {error}")
                continue
            measured = accuracies(scores, labels, split) | {"ausuc": seen_absent_curve(scores, labels, split).ausuc}
            if method not in BASELINES or BASELINES[method].scores_are_logits:
                measured |= calibration_errors(scores, labels, split)
            for name in MEASURES:
                rows.append((spec.seed, method, is_oracle(method), name, measured.get(name, float("nan"))))
    return pd.DataFrame(rows, columns=["seed", "method", "oracle", "metric", "value"])


def costs(runs: RunSet) -> pd.DataFrame:
    """The cost of each method beyond the fine-tuning, on this machine and the first seed.

    Columns: method, seconds, extra_training.
    seconds : from stored Outputs to scores; for WiSE with the forward passes of the interpolated network.
    extra_training : training images that the method's own networks process, over those of the fine-tuning.
    """
    spec = runs.specs[0]
    own = _processed(runs, spec)
    trained = {
        HALVES: sum(_processed(runs, fold) for fold in half_specs(spec)) / own,
        THIRDS: sum(_processed(runs, fold) for fold in third_specs(spec)) / own,
    }
    found = treatments(runs, spec) | {WISE: partial(_interpolate, runs, spec)}
    rows = []
    for method, treat in found.items():
        for _ in range(2):  # the first warms up
            begin = time.perf_counter()
            treat()
            seconds = time.perf_counter() - begin
        needs = ESTIMATORS[method].needs if method in ESTIMATORS else frozenset()
        extra = sum(images for need, images in trained.items() if need in needs)
        rows.append((method, seconds, _processed(runs, upper_bound(spec)) / own if method == ALL_CLASSES else extra))
    return pd.DataFrame(rows, columns=["method", "seconds", "extra_training"])


def _processed(runs: RunSet, spec: RunSpec) -> int:
    """The training images that a run processes, over all epochs."""
    return spec.epochs * len(training_rows(runs.manifest, spec))
