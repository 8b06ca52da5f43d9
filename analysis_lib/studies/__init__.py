"""Studies: questions, the runs that each needs, and the door through which these are made.

A study declares its runs; what reads them never trains. A new study is a file with its tables, and a line here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..benchmarks.manifest import load_manifest
from ..core.errors import unknown
from ..core.run_spec import RunSpec
from ..runs.execute import execute
from ..runs.pcv_folds import with_folds
from ..runs.plan import plan
from ..runs.run_set import RunSet
from . import estimator_grid, gain_prediction


def plan_with_folds(benchmark: str, profile: str, seeds: Sequence[int]) -> list[RunSpec]:
    """The runs of a profile, each with its folds of pseudo cross-validation."""
    return with_folds(plan(benchmark, profile, seeds))


@dataclass(frozen=True)
class Study:
    """question : what it asks; runs : what it needs for a benchmark, a profile and seeds; then : further runs that can be
    named only once those are finished, given the runs of the profile."""

    question: str
    runs: Callable[[str, str, Sequence[int]], list[RunSpec]]
    then: Callable[[RunSet], list[RunSpec]] = lambda runs: []


STUDIES: dict[str, Study] = {
    "accuracy": Study("What does fine-tuning do to the accuracy on seen and on absent classes?", plan),
    "features": Study("What happens to the features of absent classes?", plan),
    "decomposition": Study("Which part of the softmax loses the absent classes?", plan),
    "head": Study("What happens to the linear head?", plan_with_folds),
    "calibration": Study("How much does one constant on the absent logits bring back?", plan_with_folds),
    "gain_prediction": Study("Why do absent-class features move, and which classes gain?", plan, gain_prediction.dissimilar_specs),
    "estimator_grid": Study("How close do estimates of gamma come to the best one?", estimator_grid.specs),
    "claims": Study("Which claims hold?", plan_with_folds),
}


def make_runs(names: Sequence[str], benchmark: str, profile: str, seeds: Sequence[int], device: str = "") -> Iterator[RunSpec]:
    """Make the union of the runs of some studies, and yield each once it is finished.

    Runs that exist cost nothing. Raises UserError for an unknown study, and as planning and executing do.
    """
    for name in names:
        if name not in STUDIES:
            raise unknown("study", name, STUDIES)
    first = dict.fromkeys(spec for name in names for spec in STUDIES[name].runs(benchmark, profile, seeds))
    for spec in first:
        execute(spec, device)
        yield spec
    base = RunSet(load_manifest(benchmark), tuple(plan(benchmark, profile, seeds)), device)
    for spec in dict.fromkeys(spec for name in names for spec in STUDIES[name].then(base)):
        if spec not in first:
            execute(spec, device)
            yield spec


def open_study(name: str, benchmark: str, profile: str, seeds: Sequence[int], device: str = "") -> RunSet:
    """The runs of a profile, opened for reading; makes what the study declares and is missing. Raises as `make_runs`."""
    for _ in make_runs([name], benchmark, profile, seeds, device):
        pass
    return RunSet(load_manifest(benchmark), tuple(plan(benchmark, profile, seeds)), device)
