"""Ablations: what changes when one part of the recipe does. Every sweep of `studies/` is one question.

A cell is one setting, run once for every seed. `ablation_claims` judges the statements about them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from ..analysis.gamma.curve import seen_absent_curve, shift_logits
from ..analysis.gamma.estimators import NONE, ORACLE
from ..analysis.metrics.accuracy import group_masks, max_over
from ..analysis.stats.claims import State
from ..analysis.stats.sample_numbers import SampleNumbers, sample_numbers
from ..benchmarks.manifest import load_manifest
from ..core import paths
from ..core.run_spec import RunSpec
from ..runs.run_set import RunSet
from ..runs.sweep import Cell, Sweep, cell_name, read_sweep, specs_by_cell
from .fine_tuning_methods import NCM, nearest_mean_scores
from .uncertainty import KEYS, area_parts

SWEEPS = {  # in `studies/`, and what each changes
    "optimizers": "optimiser, learning rate or weight decay",
    "length": "length of training",
    "seen_classes": "choice or number of seen classes",
    "cosine_head": "head",
    "augmentation": "augmentation",
    "warmup": "warm-up",
    "images": "number of images",
    "backbones": "network",
}
CHANGE = "change by fine-tuning"


def specs(name: str, benchmark: str, profile: str, seeds: Sequence[int]) -> list[RunSpec]:
    """The runs of a sweep, but none where the starting network chooses the seen classes: that must be there first."""
    return _specs(name, benchmark, profile, seeds, chosen=False)


def specs_of_chosen_classes(name: str, runs: RunSet, profile: str) -> list[RunSpec]:
    """The runs of a sweep whose seen classes the starting network chooses, once `runs` are finished; else none."""
    return _specs(name, runs.benchmark, profile, [spec.seed for spec in runs.specs], chosen=True)


def _specs(name: str, benchmark: str, profile: str, seeds: Sequence[int], chosen: bool) -> list[RunSpec]:
    sweep = read_sweep(paths.sweep(name))
    if sweep.chooses_classes != chosen:
        return []
    return [spec for specs in _cells(sweep, benchmark, profile, seeds).values() for spec in specs]


def _cells(sweep: Sweep, benchmark: str, profile: str, seeds: Sequence[int]) -> dict[Cell, list[RunSpec]]:
    """The runs of every cell; none of a profile that the sweep does not have, or on a benchmark that it is not for."""
    if profile not in sweep.runs or not sweep.is_for(benchmark):
        return {}
    return specs_by_cell(sweep, benchmark, profile, seeds)


@dataclass(frozen=True)
class Ablation:
    """The finished runs of a sweep, opened for reading.

    cells : the runs of each cell, one a seed.
    runs : the same runs as a set.
    """

    sweep: Sweep
    cells: dict[Cell, list[RunSpec]]
    runs: RunSet

    def where(self, **fields: object) -> list[str]:
        """The names of the cells with these values, of RunSpec fields or of others that the sweep names.

        A tuple stands for any of its values.
        """
        found = []
        for cell, (spec, *_) in self.cells.items():
            values = vars(spec) | dict(cell)
            wanted = ((field, value if isinstance(value, tuple) else (value,)) for field, value in fields.items())
            if all(values.get(field) in allowed for field, allowed in wanted):
                found.append(cell_name(cell))
        return found


def open_ablation(name: str, benchmark: str, profile: str, seeds: Sequence[int], device: str = "") -> Ablation:
    """The runs of one sweep, for reading; no cell of an unknown profile, or where the sweep is for another benchmark.

    Raises UserError as `read_sweep` and `specs_by_cell` do.
    """
    sweep = read_sweep(paths.sweep(name))
    cells = _cells(sweep, benchmark, profile, seeds)
    every = tuple(spec for specs in cells.values() for spec in specs)
    return Ablation(sweep, cells, RunSet(load_manifest(benchmark), every, device))


def numbers(ablation: Ablation) -> SampleNumbers:
    """Accuracies and AUSUC of every cell.

    A state is a cell with a treatment: no shift, gamma* (*oracle*) or the nearest-class-mean probe (*oracle*); or
    `CHANGE`, each number after fine-tuning minus the same before it. The states of AUSUC have no treatment.
    """
    runs, seeds = ablation.runs, len(next(iter(ablation.cells.values())))
    values: list[dict] = [{} for _ in range(seeds)]
    areas: list[dict] = [{} for _ in range(seeds)]
    for cell, specs in ablation.cells.items():
        name = cell_name(cell)
        for seed, spec in enumerate(specs):
            values[seed] |= _values(runs, spec, name)
            split = runs.split(spec)
            before, after = (area_parts(runs.outputs(spec, epoch, "test"), split) for epoch in (0, spec.epochs))
            areas[seed][State(name)] = after
            areas[seed][State(name, CHANGE)] = after[0] - before[0], after[1] - before[1]
    labels = runs.outputs(runs.specs[0], 0, "test").labels
    return sample_numbers(values, areas, labels)


def _values(runs: RunSet, spec: RunSpec, name: str) -> dict[tuple[State, str], torch.Tensor]:
    """Each test sample's numbers in every state of a cell, (N,) float64, NaN outside the metric's group."""
    test, split = runs.outputs(spec, spec.epochs, "test"), runs.split(spec)
    gamma = seen_absent_curve(test.logits, test.labels, split).best().gamma
    best = (shift_logits(test.logits, split, gamma).argmax(1) == test.labels).double()
    masks = group_masks(test.labels, split)
    before, after = _unshifted(runs, spec, 0), _unshifted(runs, spec, spec.epochs)
    after |= {(ORACLE, metric): best.where(masks[group], torch.nan) for metric, group in KEYS.items()}
    measured = [*((treatment, metric) for treatment in (NONE, ORACLE, NCM) for metric in KEYS), (NONE, "acc_uu")]
    found = {(State(name, treatment), metric): after[treatment, metric] for treatment, metric in measured}
    for metric in (*KEYS, "acc_uu"):
        found[State(name, CHANGE), metric] = after[NONE, metric] - before[NONE, metric]
    found[State(name, CHANGE), "ncm_acc_uy"] = after[NCM, "acc_uy"] - before[NCM, "acc_uy"]
    return found


def _unshifted(runs: RunSet, spec: RunSpec, epoch: int) -> dict[tuple[str, str], torch.Tensor]:
    """Whether each test sample is right after an epoch, by the head and by NCM, for each metric, as `_values`."""
    test, split = runs.outputs(spec, epoch, "test"), runs.split(spec)
    masks = group_masks(test.labels, split)
    found = {}
    for treatment, scores in ((NONE, test.logits), (NCM, nearest_mean_scores(runs, spec, epoch, test))):
        right = (scores.argmax(1) == test.labels).double()
        for metric, group in KEYS.items():
            found[treatment, metric] = right.where(masks[group], torch.nan)
    among_absent = (max_over(test.logits, split.absent)[1] == test.labels).double()
    found[NONE, "acc_uu"] = among_absent.where(masks["u"], torch.nan)
    return found


def summary(found: SampleNumbers) -> pd.DataFrame:
    """Every number of every cell with its interval over seeds and classes.

    Columns: cell, treatment, metric, mean, low, high, n_samples, n_seeds.
    """
    named = [(state.checkpoint, state.method or NONE, metric) for state, metric in found.names]
    table = pd.DataFrame(named, columns=["cell", "treatment", "metric"])
    return table.join(found.levels(found.names)[["mean", "low", "high", "n_samples", "n_seeds"]])


def with_fields(table: pd.DataFrame, ablation: Ablation) -> pd.DataFrame:
    """A table with a column `cell`, with a column for every field that the sweep names in any profile."""
    fields = {cell_name(cell): vars(specs[0]) | dict(cell) for cell, specs in ablation.cells.items()}
    grids = (grid for grids in ablation.sweep.runs.values() for grid in grids)
    names = dict.fromkeys(name for grid in grids for name in grid if name != "record_every")
    for place, name in enumerate(names):
        table.insert(place, name, [fields[cell].get(name) for cell in table["cell"]])
    return table


def by_epoch(ablation: Ablation) -> pd.DataFrame:
    """Every stored epoch of every run: columns cell, lr, epochs, seed, epoch, metric, value.

    Metrics: acc_sy, acc_uy, ausuc, and gamma*, which is chosen on test labels (*oracle*).
    """
    runs, rows = ablation.runs, []
    for cell, specs in ablation.cells.items():
        for spec in specs:
            split = runs.split(spec)
            for epoch in runs.epochs(spec):
                curve = runs.curve(spec, epoch)
                test = runs.outputs(spec, epoch, "test")
                right = test.logits.argmax(1) == test.labels
                seen = split.is_seen(test.labels)
                found = {"acc_sy": right[seen], "acc_uy": right[~seen]}
                measured = {metric: values.double().mean().item() for metric, values in found.items()}
                measured |= {"ausuc": curve.ausuc, "gamma": curve.best().gamma}
                place = (cell_name(cell), spec.lr, spec.epochs, spec.seed, epoch)
                rows += [(*place, *pair) for pair in measured.items()]
    return pd.DataFrame(rows, columns=["cell", "lr", "epochs", "seed", "epoch", "metric", "value"])


def collapse(table: pd.DataFrame) -> pd.DataFrame:
    """Where absent classes are lost: the first stored epoch at which Acc_U/Y is below half of what it was at epoch 0.

    table : from `by_epoch`. Columns: cell, lr, epochs, seed, epoch, and rate_sum, the learning rate summed over these
    epochs, on its cosine; both NaN for a run in which it never is.
    """
    rows = []
    for (cell, lr, epochs, seed), run in table[table["metric"] == "acc_uy"].groupby(
        ["cell", "lr", "epochs", "seed"], sort=False
    ):
        series = run.set_index("epoch")["value"]
        below = series.index[series < series[0] / 2]
        epoch = float(below[0]) if len(below) else np.nan
        done = epoch / epochs
        rate_sum = lr * epochs * (done + np.sin(np.pi * done) / np.pi) / 2
        rows.append((cell, lr, epochs, seed, epoch, rate_sum))
    return pd.DataFrame(rows, columns=["cell", "lr", "epochs", "seed", "epoch", "rate_sum"])
