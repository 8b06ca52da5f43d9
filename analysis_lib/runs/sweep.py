"""Sweeps: many runs of a benchmark, declared in a small JSON file as grids of RunSpec fields. For example::

    {
      "title": "Optimisers", "benchmark": "glyphs", "seeds": [20, 21, 22],
      "runs": {"default": [{"optimizer": ["sgd", "adamw"], "lr": [0.01, 0.0001]}, {"warmup": 0.1}]}
    }

Each profile has a list of grids: every combination of a grid's values is a cell, run once for every seed. Fields that
a grid does not name are those of the benchmark's recipe for the profile. `seen_choice` and `seen_number` are no fields:
`runs.seen_choice` makes the run's seen classes of them.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ..benchmarks.manifest import load_manifest
from ..core import external_files, paths
from ..core.errors import UserError, unknown
from ..core.run_spec import RunSpec
from ..methods import method_of
from ..training.optimizers import check_optimizer
from .plan import plan_on, run_before
from .seen_choice import choose_seen

FIXED = ("benchmark", "data", "seed", "stage")  # what a grid may not change
SCALARS = (bool, int, float, str)
MOST = 10_000  # cells of one grid
CHOICE = {"seen_choice": str, "seen_number": int}  # what `choose_seen` takes
SWEPT = {field.name: field.type for field in fields(RunSpec) if field.type in SCALARS and field.name not in FIXED}
SWEPT |= CHOICE

Value = bool | int | float | str
Cell = tuple[tuple[str, Value], ...]  # the changed fields with their values, in the file's order


class Sweep(BaseModel):
    """A sweep file. `question`, `statement` (what is claimed, by the paper or by us) and `title` are for readers.

    runs : for each profile its grids, each a value or several for every field that it names.
    only : the benchmarks that it is for; empty: any.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    benchmark: str
    seeds: tuple[int, ...]
    runs: dict[str, list[dict[str, Value | list[Value]]]]
    question: str = ""
    statement: str = ""
    only: tuple[str, ...] = ()

    @property
    def chooses_classes(self) -> bool:
        """Whether some seen classes are chosen by the starting network, which must be there first."""
        grids = itertools.chain.from_iterable(self.runs.values())
        return any("seen_choice" in grid or "seen_number" in grid for grid in grids)

    def is_for(self, benchmark: str) -> bool:
        """Whether the sweep can be made on a benchmark."""
        return not self.only or benchmark in self.only


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file. Raises UserError if it is absent, is no JSON, or has unknown or missing keys."""
    if not path.exists():
        raise UserError(f"there is no sweep file {paths.display(path)}; those that ship lie in studies/")
    try:
        sweep = Sweep.model_validate(external_files.read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"the sweep file {paths.display(path)} is wrong at {place!r}: {first['msg']}") from None
    for grid in itertools.chain.from_iterable(sweep.runs.values()):
        for name in grid:
            if name not in SWEPT:
                raise unknown(f"field in {paths.display(path)}:", name, SWEPT)
    return sweep


def _typed(name: str, value: Value) -> Value:
    """The value in the type of its field, so that 1 and 1.0 name the same run. Raises UserError for another type."""
    kind = SWEPT[name]
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind or kind is float and not math.isfinite(value):
        raise UserError(f"{name} is {value!r} in a sweep; give a value of type {kind.__name__}")
    return value


def cells(sweep: Sweep, profile: str) -> list[Cell]:
    """The cells of a profile, each once. Raises UserError for an unknown profile and a value of another type."""
    if profile not in sweep.runs:
        raise unknown(f"profile of the sweep {sweep.title!r}", profile, sweep.runs)
    found: dict[Cell, None] = {}  # an ordered set
    for grid in sweep.runs[profile]:
        several = []
        for name, value in grid.items():
            values = value if isinstance(value, list) else [value]
            if not values:
                raise UserError(f"{name} has no value in a grid of the sweep {sweep.title!r}; give one or more")
            several.append([(name, _typed(name, each)) for each in values])
        if math.prod(map(len, several)) > MOST:
            raise UserError(f"a grid of the sweep {sweep.title!r} has over {MOST} combinations; give fewer values")
        found |= dict.fromkeys(itertools.product(*several))
    return list(found)


def cell_name(cell: Cell) -> str:
    """A cell in words: the fields that it changes, but not how often Outputs are stored."""
    shown = [(name, value) for name, value in cell if name != "record_every"]
    return ", ".join(f"{name}={value}" for name, value in shown) or "recipe"


def starting_runs(sweep: Sweep, benchmark: str, profile: str) -> list[RunSpec]:
    """The runs that must be finished before `specs_by_cell`: of the network whose head says which classes are seen."""
    if not sweep.chooses_classes:
        return []
    manifest = load_manifest(benchmark)
    (spec,) = plan_on(manifest, profile, sweep.seeds[:1])
    before = run_before(spec, manifest)
    return [before] if before else []


def specs_by_cell(sweep: Sweep, benchmark: str, profile: str, seeds: Sequence[int]) -> dict[Cell, list[RunSpec]]:
    """The runs of every cell, one a seed. Raises UserError as `cells`, `plan_on`, RunSpec and `choose_seen` do."""
    manifest = load_manifest(benchmark)
    found = {}
    for cell in cells(sweep, profile):
        choice = {name: value for name, value in cell if name in CHOICE}
        specs = plan_on(manifest, profile, seeds, **{name: value for name, value in cell if name not in CHOICE})
        for spec in specs[:1]:
            check_optimizer(spec.optimizer)
            method_of(spec)
        found[cell] = [choose_seen(spec, manifest, **choice) for spec in specs] if choice else specs
    return found
