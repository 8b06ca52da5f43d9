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

from ..analysis.gamma.curve import shift_logits
from ..analysis.gamma.estimators import ESTIMATORS, NONE, ORACLE
from ..analysis.gamma.estimators.prior_matching import matched_share_gamma
from ..analysis.stats.bootstrap import draw_cluster_resamples, resampled_means
from ..benchmarks import grid, recipe
from ..benchmarks.manifest import load_manifest
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for
from ..runs.pcv_folds import with_folds
from ..runs.plan import plan
from ..runs.run_set import FINE_TUNED, RunSet
from . import calibration

MATCHED, MATCHED_STAND_IN = "matched_share (transductive)", "matched_stand_in (transductive)"
SUMMARIES = ("median", "worst")  # of the shares over the cells
GOALS, LIMIT = {False: 0.90, True: 0.95}, 0.60  # of the median without and with extra training, and of the worst cell
COLUMNS = ["cell", "method", "share", "low", "high", "n_samples", "n_seeds"]


def cell_specs(benchmark: str, profile: str, seeds: Sequence[int]) -> dict[tuple[float, int], list[RunSpec]]:
    """The fine-tuning runs of every cell (lr, epochs) of the profile's grid; the recipe's own cell shares its runs.

    Raises UserError as `plan`.
    """
    own, chosen = recipe(benchmark, profile), grid(benchmark, profile)
    cells = {}
    for epochs, lr in product(chosen.epochs, chosen.lr):
        changes = {} if (lr, epochs) == (own["lr"], own["epochs"]) else {"lr": lr, "epochs": epochs, "record_every": epochs}
        cells[lr, epochs] = plan(benchmark, profile, seeds, **changes)
    return cells


def specs(benchmark: str, profile: str, seeds: Sequence[int]) -> list[RunSpec]:
    """The runs of every cell with their folds, on the given seeds and on the grid's development seeds."""
    groups = [group for group in (seeds, grid(benchmark, profile).development) if group]
    return [spec for group in groups for cell in cell_specs(benchmark, profile, group).values() for spec in with_folds(cell)]


def read_cells(benchmark: str, profile: str, seeds: Sequence[int], device: str = "") -> dict[tuple[float, int], RunSet]:
    """Each cell's runs, opened for reading."""
    manifest = load_manifest(benchmark)
    return {cell: RunSet(manifest, tuple(specs), device) for cell, specs in cell_specs(benchmark, profile, seeds).items()}


def choices(cells: dict[tuple[float, int], RunSet]) -> pd.DataFrame:
    """What every method chooses in every run: columns lr, epochs, seed, method, gamma, acc_sy, acc_uy, acc_yy, share."""
    frames = [calibration.calibrations(runs).query(f"checkpoint == {FINE_TUNED!r}").assign(lr=lr, epochs=epochs) for (lr, epochs), runs in cells.items()]
    return pd.concat(frames, ignore_index=True)[["lr", "epochs", "seed", "method", "gamma", "acc_sy", "acc_uy", "acc_yy", "share"]]


def shares(cells: dict[tuple[float, int], RunSet], chosen: pd.DataFrame) -> pd.DataFrame:
    """The share of the oracle's gain per cell and method, and its median and worst cell, with 95 % intervals.

    chosen : from `choices`. One paired bootstrap over test groups and seeds serves all cells, with every gamma held
    fixed, also those that unlabelled test samples chose. A cell is left out where gamma* gains nothing. The oracle's gain is in-sample, so it is overstated, most where
    it is small: an honest method stays below 1 in gentle cells. Columns: `COLUMNS`; a cell reads `lr 0.02, 5 epochs`.
    """
    methods = list(dict.fromkeys(chosen["method"]))
    n_seeds = chosen["seed"].nunique()
    blocks = [[] for _ in range(n_seeds)]
    for (lr, epochs), runs in cells.items():
        own = chosen[(chosen["lr"] == lr) & (chosen["epochs"] == epochs)].set_index(["seed", "method"])["gamma"]
        for block, spec in zip(blocks, runs.specs):
            test = runs.outputs(spec, spec.epochs, "test")
            for method in methods:
                shifted = shift_logits(test.logits, runs.split(spec), own[spec.seed, method])
                block.append((shifted.argmax(1) == test.labels).double())
    values = [torch.stack(block) for block in blocks]
    n_samples, clusters = values[0].shape[1], runs.clusters(test)
    generator = generator_for("protocol", next(iter(cells.values())).benchmark)
    once = torch.ones(1, n_samples, dtype=torch.float64), torch.ones(1, n_seeds, dtype=torch.float64)
    found, drawn = (_shares(resampled_means(values, *counts), methods, len(cells)) for counts in (once, draw_cluster_resamples(clusters, n_seeds, generator)))
    low, high = drawn.nanquantile(drawn.new_tensor([0.025, 0.975]), dim=0)
    names = [f"lr {lr:g}, {epochs} epochs" for lr, epochs in cells] + [*SUMMARIES]
    rows = [(name, method, *(float(series[i, j]) for series in (found[0], low, high)), n_samples, n_seeds)
            for i, name in enumerate(names) for j, method in enumerate(methods)]
    return pd.DataFrame(rows, columns=COLUMNS)


def mismatch(cells: dict[tuple[float, int], RunSet], absent_shares: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9)) -> pd.DataFrame:
    """What the transductive choices are worth where absent samples are rarer or more frequent than their classes.

    The pool that chooses gamma holds all test samples of one group and so many of the other, drawn by a named seed, that
    absent ones have the given share. Matching assumes the share of the `classes`, or is told the `true` one. All test
    samples score, as in `shares`. Columns: absent_share, assumed, method, median, worst (share of the oracle's gain, over
    cells), n_pool (samples of the smallest pool), n_cells, n_seeds.
    """
    found = []
    for cell, runs in cells.items():
        for spec in runs.specs:
            split, curve, stand_in = runs.split(spec), runs.curve(spec, spec.epochs), calibration.choose_gamma(runs, spec, "stand_in")
            none = curve.at(0.0).acc_yy
            for absent_share in absent_shares:
                pool = _pool(runs, spec, absent_share)
                for assumed, share in (("classes", None), ("true", absent_share)):
                    matched = matched_share_gamma(pool, split, share)
                    for method, gamma in ((MATCHED, matched), (MATCHED_STAND_IN, (matched + stand_in) / 2)):
                        gains = curve.at(gamma).acc_yy - none, curve.best().acc_yy - none
                        found.append((absent_share, assumed, method, cell, *gains, len(pool)))
    keys = ["absent_share", "assumed", "method"]
    table = pd.DataFrame(found, columns=[*keys, "cell", "gain", "oracle", "n_pool"]).groupby([*keys, "cell"], as_index=False)
    table = table.agg(gain=("gain", "sum"), oracle=("oracle", "sum"), n_pool=("n_pool", "min"), n_seeds=("gain", "count"))
    table["share"] = (table["gain"] / table["oracle"]).where(table["oracle"] > 0)
    return table.groupby(keys, as_index=False).agg(
        median=("share", "median"), worst=("share", "min"), n_pool=("n_pool", "min"), n_cells=("share", "count"), n_seeds=("n_seeds", "first"))


def _pool(runs: RunSet, spec: RunSpec, absent_share: float) -> torch.Tensor:
    """Logits (N', C) of test samples among which absent ones have the share."""
    test = runs.outputs(spec, spec.epochs, "test")
    seen = runs.split(spec).is_seen(test.labels)
    order = torch.randperm(len(seen), generator=generator_for("pool", runs.benchmark, spec.seed))
    groups = [order[~seen[order]], order[seen[order]]]
    size = min(len(groups[0]) / absent_share, len(groups[1]) / (1 - absent_share))
    return test.logits[torch.cat([group[: round(size * share)] for group, share in zip(groups, (absent_share, 1 - absent_share))])]


def development(benchmark: str, profile: str, device: str = "") -> pd.DataFrame:
    """`shares` on the development seeds of the profile's grid; without a row where the profile has no such seeds."""
    seeds = grid(benchmark, profile).development
    if not seeds:
        return pd.DataFrame(columns=COLUMNS)
    cells = read_cells(benchmark, profile, seeds, device)
    return shares(cells, choices(cells))


def _shares(accuracy: torch.Tensor, methods: list[str], n_cells: int) -> torch.Tensor:
    """Shares (R, cells + summaries, methods) from resampled accuracies (R, cells * methods)."""
    accuracy = accuracy.unflatten(1, (n_cells, len(methods)))
    gain = accuracy - accuracy[:, :, methods.index(NONE), None]
    oracle = gain[:, :, methods.index(ORACLE), None]
    share = (gain / oracle).where(oracle > 0, torch.nan)
    return torch.cat([share, *(share.nanquantile(level, dim=1, keepdim=True) for level in (0.5, 0.0))], 1)


def verdicts(shares: pd.DataFrame) -> str:
    """Each method against the goals in words: the median over cells, and the worst cell; one line per method."""
    merit = shares[shares["cell"].isin(SUMMARIES)].pivot(index="method", columns="cell", values="share")
    lines = []
    for method in (method for method in shares["method"].unique() if method not in (NONE, ORACLE)):
        median, worst = merit.loc[method, list(SUMMARIES)]
        if ESTIMATORS[method].transductive:
            lines.append(f"{method}: median {median:.2f}; worst cell {worst:.2f}; another setting, for which no goal was set")
            continue
        goal = GOALS[ESTIMATORS[method].extra_training]
        lines.append(f"{method}: median {median:.2f}, goal {goal:.2f} {'reached' if median >= goal else 'missed'}; "
                     f"worst cell {worst:.2f}, limit {LIMIT:.2f} {'kept' if worst >= LIMIT else 'broken'}")
    return "\n".join(lines)
