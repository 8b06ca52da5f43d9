"""Parameter-efficient methods and feature probing compared: what they do to absent classes, and what one constant does.

Every method starts from the same network and takes as many gradient steps on the same images, with the optimiser of
`Benchmark.petl_recipe`. Its learning rate was chosen on other seeds, see `petl_choice`; where a benchmark has no chosen
rates, all methods have the recipe's.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import torch

from ..benchmarks import describe
from ..core.run_spec import RunSpec
from ..models.create import create_model
from ..models.petl import TECHNIQUES
from ..models.petl.blocks import is_vision_transformer
from ..runs.class_folds import third_specs
from ..runs.plan import plan
from ..runs.run_set import PRE_TRAINED

FULL = "finetune"
ANY_NETWORK = ("linear_probe", FULL, *(name for name, technique in TECHNIQUES.items() if technique.any_network))
COMPARED = ("linear_probe", FULL, *TECHNIQUES)
SHORT = ("linear_probe", FULL, "bitfit_head", "lora", "adaptformer", "ssf", "vpt_deep", "vqt", "head2toe")
WITH_FOLDS = ("full",)  # profiles in which every method has the folds of estimators over classes


def compared(model_name: str, profile: str) -> tuple[str, ...]:
    """The methods that a profile compares on a network: fewer where it is no vision transformer of timm."""
    possible = COMPARED if _is_vision_transformer(model_name) else ANY_NETWORK
    return tuple(name for name in possible if profile == "full" or name in SHORT)


@cache
def _is_vision_transformer(model_name: str) -> bool:
    with torch.device("meta"):
        return is_vision_transformer(create_model(model_name, 2))


def by_method(spec: RunSpec, name: str, lr: float | None = None) -> RunSpec:
    """A run of the profile by another method, at a learning rate; None for the chosen one.

    Only the first and the last Outputs are stored.
    """
    known = describe(spec.benchmark)
    rate = known.petl_rates.get(name, spec.lr) if lr is None else lr
    run = replace(spec, **known.petl_recipe, method=name, lr=rate)
    return spec if run == spec else replace(run, record_every=spec.epochs)


def specs(benchmark: str, profile: str, seeds: Sequence[int]) -> list[RunSpec]:
    """The runs of every method and seed, with their folds over classes where the profile has them."""
    found = []
    for spec in plan(benchmark, profile, seeds):
        for name in compared(spec.model, profile):
            run = by_method(spec, name)
            found += [run, *(third_specs(run) if profile in WITH_FOLDS else [])]
    return list(dict.fromkeys(found))


def networks(spec: RunSpec, profile: str) -> dict[str, tuple[RunSpec, int]]:
    """The networks compared with a run of the profile, by name: the run and the epoch of each."""
    runs = {name: by_method(spec, name) for name in compared(spec.model, profile)}
    return {PRE_TRAINED: (spec, 0)} | {name: (run, run.epochs) for name, run in runs.items()}
