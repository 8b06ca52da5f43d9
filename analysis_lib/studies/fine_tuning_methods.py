"""Fine-tuning methods compared, each with the shifts and probes that can follow it.

The question is twofold: which method spares the absent classes, and what is left of its lead once every network has its
best constant. Every method takes as many gradient steps from the same start. Its option was chosen on other seeds, see
`method_choice`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pandas as pd
import torch

from ..analysis.gamma.curve import seen_absent_curve, shift_logits
from ..analysis.gamma.estimators import ALG, ESTIMATORS, NONE, ORACLE, estimate_gamma
from ..analysis.metrics import feature_drift, feature_space
from ..analysis.metrics.accuracy import accuracies
from ..analysis.metrics.calibration_error import calibration_errors
from ..analysis.metrics.ncm import class_means, ncm_scores
from ..benchmarks import describe, grid, recipe
from ..benchmarks.manifest import load_manifest
from ..core.run_spec import RunSpec
from ..methods import SPARING
from ..models.weight_space import parameter_distance
from ..runs.class_folds import third_specs
from ..runs.execute import load_before_after
from ..runs.outputs import Outputs
from ..runs.plan import plan
from ..runs.run_set import BATCHNORM_ONLY, PRE_TRAINED, RunSet, batchnorm_only
from . import calibration

PLAIN, STATISTICS = "finetune", "batchnorm_statistics"
SHORT = ("finetune", "seen_softmax", "wise")  # of the profiles that do not compare all
NCM = "ncm (oracle)"
# not compared at a second learning rate, for time
AT_ONE_RATE = ("distill", "distill_absent", "rank", "label_smoothing", "lolsgd_masked", "swa")
# measured on other tasks: a probe of one network takes a quarter of a minute
REMEMBERING = ("finetune", "seen_softmax", "l2sp", "ldifs", "feature_distance", "lolsgd", "wise")
Networks = Callable[[RunSpec], dict[str, tuple[RunSpec, int]]]
SHIFTS = (NONE, ALG, "stand_in", "transported_cv", ORACLE)


def learning_rates(benchmark: str, profile: str) -> tuple[float, ...]:
    """Those at which methods are compared: the recipe's, and in the profile `full` all of the grid of `default`."""
    own = recipe(benchmark, profile)["lr"]
    return tuple(dict.fromkeys((own, *grid(benchmark, "default").lr))) if profile == "full" else (own,)


def compared(spec: RunSpec, profile: str) -> tuple[str, ...]:
    """The methods that a profile compares with a run by plain fine-tuning: fewer where its rate is not the recipe's."""
    if profile != "full":
        return SHORT
    own_rate = spec.lr == recipe(spec.benchmark, profile)["lr"]
    return tuple(name for name in SPARING if own_rate or name not in AT_ONE_RATE)


def by_method(spec: RunSpec, name: str) -> RunSpec:
    """The same run by another method, with the options chosen for the benchmark.

    Only the first and the last Outputs are stored. Plain fine-tuning is the run itself. A method that trains no weight
    has one epoch at learning rate 0.
    """
    if name == PLAIN:
        return spec
    options = tuple(describe(spec.benchmark).method_options.get(name, {}).items())
    if name == STATISTICS:
        return replace(spec, method=name, options=options, lr=0.0, epochs=1, record_every=1)
    return replace(spec, method=name, options=options, record_every=spec.epochs)


def plain_specs(benchmark: str, profile: str, seeds: Sequence[int]) -> dict[float, list[RunSpec]]:
    """The runs by plain fine-tuning at each learning rate. Raises UserError as `plan`."""
    own = recipe(benchmark, profile)
    found = {}
    for lr in learning_rates(benchmark, profile):
        changes = {} if lr == own["lr"] else {"lr": lr, "record_every": own["epochs"]}
        found[lr] = plan(benchmark, profile, seeds, **changes)
    return found


def specs(benchmark: str, profile: str, seeds: Sequence[int]) -> list[RunSpec]:
    """The runs of every method, learning rate and seed, and the controls of plain fine-tuning.

    Plain fine-tuning also has folds. Those of another method would cost three trainings more for each of its runs.
    """
    found = []
    for plain in plain_specs(benchmark, profile, seeds).values():
        for spec in plain:
            found += [spec, batchnorm_only(spec), *(by_method(spec, name) for name in compared(spec, profile))]
            found += third_specs(spec)
    return list(dict.fromkeys(found))


def open_methods(benchmark: str, profile: str, seeds: Sequence[int], device: str = "") -> dict[float, RunSet]:
    """The runs by plain fine-tuning at each learning rate, opened for reading; `networks` finds the others."""
    manifest = load_manifest(benchmark)
    planned = plain_specs(benchmark, profile, seeds)
    return {lr: RunSet(manifest, tuple(specs), device) for lr, specs in planned.items()}


def networks(spec: RunSpec, profile: str) -> dict[str, tuple[RunSpec, int]]:
    """The networks compared with a run by plain fine-tuning, by name: the run and the epoch of each."""
    found = {PRE_TRAINED: (spec, 0), BATCHNORM_ONLY: (batchnorm_only(spec), spec.epochs)}
    for name in compared(spec, profile):
        run = by_method(spec, name)
        found[name] = (run, run.epochs)
    return found


def taking_steps(spec: RunSpec, profile: str) -> dict[str, RunSpec]:
    """The run of each compared method that takes gradient steps, by name."""
    return {name: by_method(spec, name) for name in compared(spec, profile) if name != STATISTICS}


def treatments(runs: RunSet, run: RunSpec, epoch: int) -> dict[str, float]:
    """gamma of one network by each estimator that its finished runs allow, `none` and the oracle's among them."""
    if epoch == 0:
        return {NONE: 0.0, ORACLE: runs.curve(run, 0).best().gamma}
    found = calibration.evidence(runs, run)
    return {method: estimate_gamma(method, found) for method in SHIFTS if ESTIMATORS[method].needs <= found.holds}


def measures(cells: dict[float, RunSet], profile: str) -> pd.DataFrame:
    """`network_measures` at every learning rate, in a column lr."""
    frames = []
    for lr, runs in cells.items():
        table = network_measures(runs, partial(networks, profile=profile))
        table.insert(0, "lr", lr)
        frames.append(table)
    return pd.concat(frames, ignore_index=True)


def network_measures(runs: RunSet, networks: Networks) -> pd.DataFrame:
    """Every network with every treatment: columns seed, method, treatment, oracle, metric, value.

    networks : from a run to the networks that are compared with it, by name: the run and the epoch of each. Treatments:
    the shifts, and the nearest-class-mean probe, which replaces the head. Metrics: the five accuracies, `ausuc`, and
    for shifts `gamma` and the calibration errors `ece_y ece_s ece_u`. `oracle` marks treatments that use labels of
    absent classes.
    """
    rows = []
    for spec in runs.specs:
        split = runs.split(spec)
        for name, (run, epoch) in networks(spec).items():
            test = runs.outputs(run, epoch, "test")
            found: dict[str, dict[str, float]] = {}
            area = seen_absent_curve(test.logits, test.labels, split).ausuc
            for treatment, gamma in treatments(runs, run, epoch).items():
                shifted = shift_logits(test.logits, split, gamma)
                measured = accuracies(shifted, test.labels, split) | calibration_errors(shifted, test.labels, split)
                found[treatment] = measured | {"ausuc": area, "gamma": gamma}
            scores = nearest_mean_scores(runs, run, epoch, test)
            found[NCM] = accuracies(scores, test.labels, split)
            found[NCM]["ausuc"] = seen_absent_curve(scores, test.labels, split).ausuc
            for treatment, measured in found.items():
                oracle = treatment in (NCM, ORACLE)
                rows += [(spec.seed, name, treatment, oracle, *pair) for pair in measured.items()]
    return pd.DataFrame(rows, columns=["seed", "method", "treatment", "oracle", "metric", "value"])


def nearest_mean_scores(runs: RunSet, run: RunSpec, epoch: int, test: Outputs) -> torch.Tensor:
    """Scores of the nearest-class-mean probe with means from training images of all classes (*oracle*)."""
    train = runs.outputs(run, epoch, "train")
    return ncm_scores(test.features, class_means(train.features, train.labels, runs.split(run).num_classes))


def drift(cells: dict[float, RunSet], profile: str) -> pd.DataFrame:
    """How far each network moved from the pre-trained one: columns lr, seed, method, metric, value. *Oracle*.

    Metrics: `displacement_s displacement_u`, the mean length by which the features of a test sample moved; `cka`, the
    similarity of the two feature spaces; `weights`, the distance of the backbone's weights, relative to their length
    before. BatchNorm's running statistics are no weights.
    """
    rows = []
    for lr, runs in cells.items():
        for spec in runs.specs:
            split, first = runs.split(spec), runs.outputs(spec, 0, "test")
            for name, (run, epoch) in networks(spec, profile).items():
                if epoch == 0:
                    continue
                test = runs.outputs(run, epoch, "test")
                moved = feature_drift.displacement(first.features, test.features, test.labels, split)
                found = {key: moved[key] for key in ("displacement_s", "displacement_u")}
                found["cka"] = feature_space.linear_cka(first.features, test.features)
                found["weights"] = parameter_distance(*load_before_after(run, runs.device))
                rows += [(lr, spec.seed, name, *pair) for pair in found.items()]
    return pd.DataFrame(rows, columns=["lr", "seed", "method", "metric", "value"])


def remembering_specs(runs: RunSet, profile: str) -> list[RunSpec]:
    """The finished runs whose forgetting is measured, of every seed at one learning rate: those of `REMEMBERING`."""
    return [by_method(spec, name) for spec in runs.specs for name in REMEMBERING if name in compared(spec, profile)]
