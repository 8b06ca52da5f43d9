"""How close each way to choose gamma comes to the oracle, over learning rates and lengths of training.

The protocol. A *cell* is one learning rate and number of epochs; its share is the gain in test Acc_Y/Y over no shift,
averaged over seeds, divided by the same gain of gamma* (*oracle*). The figure of merit of a method is the median of its
shares over the cells, and its worst cell. Our methods were chosen on development seeds; other seeds, with class splits of
their own, are reported. Both are scored on the same test images.
"""

from collections.abc import Sequence
from itertools import product

import pandas as pd
import torch

from . import runs, runtime, shifts
from .analysis.calibration import shift_logits
from .analysis.uncertainty import draw_unit_resamples, resampled_means
from .data.manifest import load_manifest
from .spec import RunSpec, grid, recipe
from .study import FINE_TUNED, Study

SUMMARIES = ("median", "worst")  # of the shares over the cells
GOALS, LIMIT = {False: 0.90, True: 0.95}, 0.60  # of the median without and with extra training, and of the worst cell
COLUMNS = ["cell", "method", "share", "low", "high", "n_samples", "n_seeds"]


def cell_specs(benchmark: str, profile: str, seeds: Sequence[int]) -> dict[tuple[float, int], list[RunSpec]]:
    """The fine-tuning runs of every cell (lr, epochs) of the profile's grid; the recipe's own cell shares its runs.

    Raises UserError as `runs.plan`.
    """
    own, chosen = recipe(benchmark, profile), grid(benchmark, profile)
    cells = {}
    for epochs, lr in product(chosen.epochs, chosen.lr):
        changes = {} if (lr, epochs) == (own["lr"], own["epochs"]) else {"lr": lr, "epochs": epochs, "record_every": epochs}
        cells[lr, epochs] = runs.plan(benchmark, profile, seeds, **changes)
    return cells


def open_cells(benchmark: str, profile: str, seeds: Sequence[int], device: str = "") -> dict[tuple[float, int], Study]:
    """Make the runs of every cell that are missing and open each cell as a study. Raises UserError as `open_study`."""
    manifest = load_manifest(benchmark)
    cells = cell_specs(benchmark, profile, seeds)
    for spec in (spec for specs in cells.values() for spec in specs):
        runs.execute(spec, device)
    return {cell: Study(manifest, tuple(specs), device) for cell, specs in cells.items()}


def choices(cells: dict[tuple[float, int], Study]) -> pd.DataFrame:
    """What every method chooses in every run: columns lr, epochs, seed, method, gamma, acc_sy, acc_uy, acc_yy, share."""
    frames = [shifts.calibrations(study).query(f"checkpoint == {FINE_TUNED!r}").assign(lr=lr, epochs=epochs) for (lr, epochs), study in cells.items()]
    return pd.concat(frames, ignore_index=True)[["lr", "epochs", "seed", "method", "gamma", "acc_sy", "acc_uy", "acc_yy", "share"]]


def shares(cells: dict[tuple[float, int], Study], chosen: pd.DataFrame) -> pd.DataFrame:
    """The share of the oracle's gain per cell and method, and its median and worst cell, with 95 % intervals.

    chosen : from `choices`. One paired bootstrap over test groups and seeds serves all cells, with every gamma held
    fixed, also those that unlabelled test samples chose. A cell is left out where gamma* gains nothing. The oracle's gain is in-sample, so it is overstated, most where
    it is small: an honest method stays below 1 in gentle cells. Columns: `COLUMNS`; a cell reads `lr 0.02, 5 epochs`.
    """
    methods = list(dict.fromkeys(chosen["method"]))
    n_seeds = chosen["seed"].nunique()
    blocks = [[] for _ in range(n_seeds)]
    for (lr, epochs), study in cells.items():
        own = chosen[(chosen["lr"] == lr) & (chosen["epochs"] == epochs)].set_index(["seed", "method"])["gamma"]
        for block, spec in zip(blocks, study.specs):
            test = study.outputs(spec, spec.epochs, "test")
            for method in methods:
                shifted = shift_logits(test.logits, study.split(spec), own[spec.seed, method])
                block.append((shifted.argmax(1) == test.labels).double())
    values = [torch.stack(block) for block in blocks]
    n_samples, units = values[0].shape[1], study.units(test)
    generator = runtime.generator_for("protocol", next(iter(cells.values())).benchmark)
    once = torch.ones(1, n_samples, dtype=torch.float64), torch.ones(1, n_seeds, dtype=torch.float64)
    found, drawn = (_shares(resampled_means(values, *counts), methods, len(cells)) for counts in (once, draw_unit_resamples(units, n_seeds, generator)))
    low, high = drawn.nanquantile(drawn.new_tensor([0.025, 0.975]), dim=0)
    names = [f"lr {lr:g}, {epochs} epochs" for lr, epochs in cells] + [*SUMMARIES]
    rows = [(name, method, *(float(series[i, j]) for series in (found[0], low, high)), n_samples, n_seeds)
            for i, name in enumerate(names) for j, method in enumerate(methods)]
    return pd.DataFrame(rows, columns=COLUMNS)


def mismatch(cells: dict[tuple[float, int], Study], absent_shares: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9)) -> pd.DataFrame:
    """What the transductive choices are worth where absent samples are rarer or more frequent than their classes.

    The pool that chooses gamma holds all test samples of one group and so many of the other, drawn by a named seed, that
    absent ones have the given share. Matching assumes the share of the `classes`, or is told the `true` one. All test
    samples score, as in `shares`. Columns: absent_share, assumed, method, median, worst (share of the oracle's gain, over
    cells), n_pool (samples of the smallest pool), n_cells, n_seeds.
    """
    found = []
    for cell, study in cells.items():
        for spec in study.specs:
            split, curve, stand_in = study.split(spec), study.curve(spec, spec.epochs), shifts.choosers(study, spec)["stand_in"]()
            none = curve.at(0.0).acc_yy
            for absent_share in absent_shares:
                pool = _pool(study, spec, absent_share)
                for assumed, share in (("classes", None), ("true", absent_share)):
                    found += [(absent_share, assumed, method, cell, curve.at(gamma).acc_yy - none, curve.best().acc_yy - none, len(pool))
                              for method, gamma in shifts.transductive(pool, split, stand_in, share).items()]
    keys = ["absent_share", "assumed", "method"]
    table = pd.DataFrame(found, columns=[*keys, "cell", "gain", "oracle", "n_pool"]).groupby([*keys, "cell"], as_index=False)
    table = table.agg(gain=("gain", "sum"), oracle=("oracle", "sum"), n_pool=("n_pool", "min"), n_seeds=("gain", "count"))
    table["share"] = (table["gain"] / table["oracle"]).where(table["oracle"] > 0)
    return table.groupby(keys, as_index=False).agg(
        median=("share", "median"), worst=("share", "min"), n_pool=("n_pool", "min"), n_cells=("share", "count"), n_seeds=("n_seeds", "first"))


def _pool(study: Study, spec: RunSpec, absent_share: float) -> torch.Tensor:
    """Logits (N', C) of test samples among which absent ones have the share."""
    test = study.outputs(spec, spec.epochs, "test")
    seen = study.split(spec).is_seen(test.labels)
    order = torch.randperm(len(seen), generator=runtime.generator_for("pool", study.benchmark, spec.seed))
    groups = [order[~seen[order]], order[seen[order]]]
    size = min(len(groups[0]) / absent_share, len(groups[1]) / (1 - absent_share))
    return test.logits[torch.cat([group[: round(size * share)] for group, share in zip(groups, (absent_share, 1 - absent_share))])]


def development(benchmark: str, profile: str, device: str = "") -> pd.DataFrame:
    """`shares` on the development seeds of the profile's grid; without a row where the profile has no such seeds."""
    seeds = grid(benchmark, profile).development
    if not seeds:
        return pd.DataFrame(columns=COLUMNS)
    cells = open_cells(benchmark, profile, seeds, device)
    return shares(cells, choices(cells))


def _shares(accuracy: torch.Tensor, methods: list[str], n_cells: int) -> torch.Tensor:
    """Shares (R, cells + summaries, methods) from resampled accuracies (R, cells * methods)."""
    accuracy = accuracy.unflatten(1, (n_cells, len(methods)))
    gain = accuracy - accuracy[:, :, methods.index(shifts.NONE), None]
    oracle = gain[:, :, methods.index(shifts.ORACLE), None]
    share = (gain / oracle).where(oracle > 0, torch.nan)
    return torch.cat([share, *(share.nanquantile(level, dim=1, keepdim=True) for level in (0.5, 0.0))], 1)


def verdicts(shares: pd.DataFrame) -> str:
    """Each method against the goals in words: the median over cells, and the worst cell; one line per method."""
    merit = shares[shares["cell"].isin(SUMMARIES)].pivot(index="method", columns="cell", values="share")
    lines = []
    for method in (method for method in shares["method"].unique() if method not in (shifts.NONE, shifts.ORACLE)):
        median, worst = merit.loc[method, list(SUMMARIES)]
        if method in shifts.TRANSDUCTIVE:
            lines.append(f"{method}: median {median:.2f}; worst cell {worst:.2f}; another setting, for which no goal was set")
            continue
        goal = GOALS[method.startswith("pcv")]
        lines.append(f"{method}: median {median:.2f}, goal {goal:.2f} {'reached' if median >= goal else 'missed'}; "
                     f"worst cell {worst:.2f}, limit {LIMIT:.2f} {'kept' if worst >= LIMIT else 'broken'}")
    return "\n".join(lines)
