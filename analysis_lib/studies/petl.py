"""Parameter-efficient methods and feature probing compared: what they do to absent classes, and what one constant does.

Every method starts from the same network and takes as many gradient steps on the same images, with the optimiser of
`Benchmark.petl_recipe`. Its learning rate was chosen on other seeds, see `petl_choice`; where a benchmark has no chosen
rates, all methods have the recipe's.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial

import pandas as pd
from torch import nn

from ..analysis.gamma.estimators import ESTIMATORS, HALVES
from ..benchmarks import describe
from ..core.errors import UserError
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for
from ..methods import METHODS, SELECTING, create_method
from ..methods.petl import PETL
from ..models.create import create_model
from ..models.petl import TECHNIQUES
from ..runs.class_folds import third_specs
from ..runs.plan import plan
from ..runs.run_set import PRE_TRAINED, RunSet
from . import calibration
from .fine_tuning_methods import Networks
from .wise_curve import run_curve

FULL = "finetune"
COMPARED = ("linear_probe", FULL, *TECHNIQUES, *SELECTING)
TITLES = {name: METHODS[name].title for name in COMPARED} | {FULL: "full fine-tuning"}
SHORT = ("linear_probe", FULL, "bitfit_head", "lora", "adaptformer", "ssf", "vpt_deep", "vqt", "head2toe")
# further tokens or features make another network, and none lies between it and the pre-trained one
WITHOUT_BETWEEN = ("vpt_shallow", "vpt_deep", "vqt", *SELECTING)


def compared(model_name: str, profile: str) -> tuple[str, ...]:
    """The methods that a profile compares on a network: those that find their places in it."""
    return tuple(name for name in _possible(model_name) if profile == "full" or name in SHORT)


@cache
def _possible(model_name: str) -> tuple[str, ...]:
    model = create_model(model_name, 2).to("meta")  # so that copies take no memory
    return tuple(name for name in COMPARED if _fits(name, model))


def _fits(name: str, model: nn.Module) -> bool:
    method = create_method(name, {})
    try:
        if isinstance(method, PETL):
            list(method.trained(model))
        method.insert(copy.deepcopy(model), generator_for("tried"))
    except UserError:
        return False
    return True


def by_method(spec: RunSpec, name: str, lr: float | None = None) -> RunSpec:
    """A run of the profile by another method, at a learning rate; None for the chosen one.

    Only the first and the last Outputs are stored.
    """
    known = describe(spec.benchmark)
    rate = known.petl_rates.get(name, spec.lr) if lr is None else lr
    run = replace(spec, **known.petl_recipe, method=name, lr=rate)
    return spec if run == spec else replace(run, record_every=spec.epochs)


def by_name(spec: RunSpec, profile: str) -> dict[str, RunSpec]:
    """The run of every method that is compared with a run of the profile."""
    return {name: by_method(spec, name) for name in compared(spec.model, profile)}


def specs(benchmark: str, profile: str, seeds: Sequence[int]) -> list[RunSpec]:
    """The runs of the profile and of all methods. Full fine-tuning has folds over classes; in `full` all of `SHORT`."""
    found = []
    for spec in plan(benchmark, profile, seeds):
        found.append(spec)
        for name, run in by_name(spec, profile).items():
            with_folds = name == FULL or profile == "full" and name in SHORT
            found += [run, *(third_specs(run) if with_folds else [])]
    return list(dict.fromkeys(found))


def networks(profile: str) -> Networks:
    """The networks compared with a run of the profile, by name: the run and the epoch of each."""
    return partial(_networks, profile=profile)


def _networks(spec: RunSpec, profile: str) -> dict[str, tuple[RunSpec, int]]:
    runs = by_name(spec, profile)
    return {PRE_TRAINED: (spec, 0)} | {name: (run, run.epochs) for name, run in runs.items()}


def estimates(runs: RunSet, profile: str) -> pd.DataFrame:
    """gamma of every method's network by each estimator that the finished runs allow, without those that need halves.

    Columns: seed, method, estimator, gamma, acc_yy, regret: what Acc_Y/Y lacks to that with gamma* (*oracle*).
    """
    rows = []
    for spec in runs.specs:
        for name, run in by_name(spec, profile).items():
            curve = runs.curve(run, run.epochs)
            best = curve.best().acc_yy
            for estimator, gamma in calibration.gammas(runs, run).items():
                if HALVES in ESTIMATORS[estimator].needs:
                    continue  # they are no runs of this study
                reached = curve.at(gamma).acc_yy
                rows.append((spec.seed, name, estimator, gamma, reached, best - reached))
    return pd.DataFrame(rows, columns=["seed", "method", "estimator", "gamma", "acc_yy", "regret"])


def wise_curves(runs: RunSet, profile: str) -> pd.DataFrame:
    """`wise_curve.run_curve` of every method between whose network and the pre-trained one others lie, by name."""
    frames = []
    for spec in runs.specs:
        for name, run in by_name(spec, profile).items():
            if name not in WITHOUT_BETWEEN:
                table = run_curve(runs, run, profile)
                table.insert(1, "method", name)
                frames.append(table)
    return pd.concat(frames, ignore_index=True)


def trained_networks(runs: RunSet, profile: str) -> dict[int, dict[str, tuple[RunSpec, int]]]:
    """The network of every method, by seed and name: its run and epoch."""
    named = {spec.seed: by_name(spec, profile) for spec in runs.specs}
    return {seed: {name: (run, run.epochs) for name, run in found.items()} for seed, found in named.items()}
