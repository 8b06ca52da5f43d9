"""Studies: each is a question with the runs that it needs and the tables that answer it.

A study declares its runs; reading them never trains. A new study is a file with its tables, and a line here. Imports
core, analysis, benchmarks, models and runs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from ..benchmarks.manifest import load_manifest
from ..core.errors import unknown
from ..core.run_spec import RunSpec
from ..runs.class_folds import half_specs, third_specs
from ..runs.execute_all import execute_all
from ..runs.plan import plan, upper_bound
from ..runs.run_set import RunSet, batchnorm_only
from . import ablations, estimator_grid, fine_tuning_methods, gain_prediction, petl, task_sequence, temporal_shift


def plan_with_controls(benchmark: str, profile: str, seeds: Sequence[int]) -> list[RunSpec]:
    """The runs of a profile, each with its control."""
    return [each for spec in plan(benchmark, profile, seeds) for each in (spec, batchnorm_only(spec))]


def plan_with_folds(benchmark: str, profile: str, seeds: Sequence[int]) -> list[RunSpec]:
    """The runs of a profile, each with its control and its folds of both kinds."""
    found = []
    for spec in plan(benchmark, profile, seeds):
        found += [spec, batchnorm_only(spec), *half_specs(spec), *third_specs(spec)]
    return found


def plan_with_upper_bounds(benchmark: str, profile: str, seeds: Sequence[int]) -> list[RunSpec]:
    """The runs of `plan_with_folds`, and the upper bound of each run of the profile."""
    bounds = [upper_bound(spec) for spec in plan(benchmark, profile, seeds)]
    return [*plan_with_folds(benchmark, profile, seeds), *bounds]


@dataclass(frozen=True)
class Study:
    """A question and the runs that answer it.

    question : in words.
    runs : from a benchmark, a profile and seeds to the specs of its runs.
    then : from the finished runs of a profile, and its name, to the specs of further runs, which depend on them.
    """

    question: str
    runs: Callable[[str, str, Sequence[int]], list[RunSpec]]
    then: Callable[[RunSet, str], list[RunSpec]] = lambda runs, profile: []


STUDIES: dict[str, Study] = {
    "accuracy": Study("What does fine-tuning do to the accuracy on seen and on absent classes?", plan_with_controls),
    "features": Study("What happens to the features of absent classes?", plan_with_controls),
    "decomposition": Study("Which part of the softmax loses the absent classes?", plan_with_controls),
    "head": Study("What happens to the linear head?", plan_with_folds),
    "calibration": Study("How much does one constant on the absent logits bring back?", plan_with_upper_bounds),
    "gain_prediction": Study(
        "Why do absent-class features move, and which classes gain?",
        plan,
        lambda runs, profile: gain_prediction.dissimilar_specs(runs),
    ),
    **{
        f"ablation_{name}": Study(
            f"What changes with another {title}?",
            partial(ablations.specs, name),
            partial(ablations.specs_of_chosen_classes, name),
        )
        for name, title in ablations.SWEEPS.items()
    },
    "estimator_grid": Study("How close do estimates of gamma come to the best one?", estimator_grid.specs),
    "fine_tuning_methods": Study(
        "Which fine-tuning method spares the absent classes, and what is left of its lead after a shift?",
        fine_tuning_methods.specs,
    ),
    "petl": Study(
        "What do adapters, prompts and probes do to the absent classes, and what does one constant?", petl.specs
    ),
    "forgetting": Study("What happens to what the network knew besides?", task_sequence.plan_with_sequence),
    "temporal_shift": Study("Does a gamma that was estimated early still serve later?", temporal_shift.specs),
    "claims": Study("Which claims hold?", plan_with_folds),
}


def make_runs(
    names: Sequence[str], benchmark: str, profile: str, seeds: Sequence[int], device: str = "", processes: int = 1
) -> Iterator[RunSpec]:
    """Make the union of the runs of some studies, and yield each once it is finished.

    Runs that exist cost nothing. processes : as in `execute_all`. Raises UserError for an unknown study, and as
    planning and executing do.
    """
    for name in names:
        if name not in STUDIES:
            raise unknown("study", name, STUDIES)
    first: dict[RunSpec, None] = {}  # an ordered set
    for name in names:
        first |= dict.fromkeys(STUDIES[name].runs(benchmark, profile, seeds))
    yield from execute_all(list(first), device, processes)
    base = RunSet(load_manifest(benchmark), tuple(plan(benchmark, profile, seeds)), device)
    further: dict[RunSpec, None] = {}
    for name in names:
        further |= dict.fromkeys(STUDIES[name].then(base, profile))
    yield from execute_all([spec for spec in further if spec not in first], device, processes)


def open_study(name: str, benchmark: str, profile: str, seeds: Sequence[int], device: str = "") -> RunSet:
    """The runs of a profile, opened for reading, after making those of the study that are missing.

    Raises as `make_runs`.
    """
    for _ in make_runs([name], benchmark, profile, seeds, device):
        pass
    return RunSet(load_manifest(benchmark), tuple(plan(benchmark, profile, seeds)), device)


def open_ablations(
    benchmark: str, profile: str, seeds: Sequence[int], device: str = ""
) -> dict[str, ablations.Ablation]:
    """Every ablation, opened for reading, after making its runs that are missing; some have no cell in a profile.

    Raises as `make_runs`.
    """
    names = [f"ablation_{name}" for name in ablations.SWEEPS]
    for _ in make_runs(names, benchmark, profile, seeds, device):
        pass
    return {name: ablations.open_ablation(name, benchmark, profile, seeds, device) for name in ablations.SWEEPS}
