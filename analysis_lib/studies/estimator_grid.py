"""Estimators of gamma compared with the oracle, over learning rates and numbers of epochs.

A *setting* is one learning rate and number of epochs (column `cell`). The yardstick is the *cross-fitted* oracle: every
test sample is predicted with the gamma that is best on other clusters of test samples. The *regret* of a method is the
cross-fitted oracle's test Acc_Y/Y minus its own; its *recovered gain* is its gain over no shift divided by the
cross-fitted oracle's. Methods are judged by the median of their regrets over the settings, and by the worst setting.
Our methods were chosen on development seeds; the results are reported on other seeds, with other class splits. Both are
scored on the same test images.
"""

from collections.abc import Sequence
from itertools import product

import pandas as pd
import torch

from ..analysis.gamma.cross_fitting import cross_fitted_right
from ..analysis.gamma.curve import shift_logits
from ..analysis.gamma.estimators import ESTIMATORS, NONE, ORACLE
from ..analysis.stats.bootstrap import draw_cluster_resamples, resampled_means
from ..benchmarks import grid, recipe
from ..benchmarks.manifest import load_manifest
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for
from ..runs.class_folds import third_specs
from ..runs.plan import plan
from ..runs.run_set import FINE_TUNED, RunSet, batchnorm_only
from . import calibration

CROSS_FITTED = "gamma*, cross-fitted (oracle)"
SUMMARIES = ("median", "worst")  # over the settings
REGRET, RECOVERED = "regret", "recovered_gain"
MEDIAN_GOAL, WORST_GOAL = 0.005, 0.015  # of the regret
RECOVERED_GOAL, WORTHWHILE = 0.95, 0.02  # of the recovered gain, in settings where the oracle gains this much
COLUMNS = ["cell", "method", "measure", "value", "low", "high", "n_samples", "n_seeds"]


def cell_specs(benchmark: str, profile: str, seeds: Sequence[int]) -> dict[tuple[float, int], list[RunSpec]]:
    """The fine-tuning runs of every setting (lr, epochs) of the profile's grid.

    The recipe's own setting shares its runs with the other studies. Raises UserError as `plan`.
    """
    own, chosen = recipe(benchmark, profile), grid(benchmark, profile)
    cells = {}
    for epochs, lr in product(chosen.epochs, chosen.lr):
        changes = {}
        if (lr, epochs) != (own["lr"], own["epochs"]):
            changes = {"lr": lr, "epochs": epochs, "record_every": epochs}
        cells[lr, epochs] = plan(benchmark, profile, seeds, **changes)
    return cells


def specs(benchmark: str, profile: str, seeds: Sequence[int]) -> list[RunSpec]:
    """The runs of every setting with their folds, on the given seeds and on the grid's development seeds.

    The folds are thirds. The halves of the paper's PCV cost twice as much; the study `calibration` makes them for the
    recipe's setting.
    """
    found = []
    for group in (seeds, grid(benchmark, profile).development):
        if group:
            for cell in cell_specs(benchmark, profile, group).values():
                for spec in cell:
                    found += [spec, batchnorm_only(spec), *third_specs(spec)]
    return found


def read_cells(benchmark: str, profile: str, seeds: Sequence[int], device: str = "") -> dict[tuple[float, int], RunSet]:
    """The runs of each setting, opened for reading."""
    manifest = load_manifest(benchmark)
    planned = cell_specs(benchmark, profile, seeds)
    return {cell: RunSet(manifest, tuple(specs), device) for cell, specs in planned.items()}


def choices(cells: dict[tuple[float, int], RunSet]) -> pd.DataFrame:
    """gamma and accuracies of every method in every fine-tuned run.

    Columns: lr, epochs, seed, method, gamma, acc_sy, acc_uy, acc_yy, share.
    """
    frames = []
    for (lr, epochs), runs in cells.items():
        fine_tuned = calibration.calibrations(runs).query(f"checkpoint == {FINE_TUNED!r}")
        frames.append(fine_tuned.assign(lr=lr, epochs=epochs))
    columns = ["lr", "epochs", "seed", "method", "gamma", "acc_sy", "acc_uy", "acc_yy", "share"]
    return pd.concat(frames, ignore_index=True)[columns]


def regrets(cells: dict[tuple[float, int], RunSet], chosen: pd.DataFrame) -> pd.DataFrame:
    """Regret and recovered gain of each method per setting, with their median and worst setting and 95 % intervals.

    chosen : from `choices`; methods that some run lacks are left out. All settings use one paired bootstrap over test
    clusters and seeds. Every gamma is held fixed, also those chosen from unlabelled test samples. Recovered gains are
    summarised over the settings in which the cross-fitted oracle gains at least `WORTHWHILE`. Columns: `COLUMNS`, with
    measure `gain` (over no shift), `regret` or `recovered_gain`; a setting is named like `lr 0.02, 5 epochs`.
    """
    counts = chosen["method"].value_counts()
    common = [method for method in ESTIMATORS if counts.get(method, 0) == counts[NONE]]
    methods = [*common, CROSS_FITTED]
    values, clusters = _right(cells, chosen, common)
    n_samples, n_seeds = values[0].shape[1], len(values)
    each_sample = torch.ones(1, n_samples, dtype=torch.float64)
    each_seed = torch.ones(1, n_seeds, dtype=torch.float64)
    found = _measures(resampled_means(values, each_sample, each_seed), methods, len(cells))
    generator = generator_for("protocol", next(iter(cells.values())).benchmark)
    sample_counts, seed_counts = draw_cluster_resamples(clusters, n_seeds, generator)
    drawn = _measures(resampled_means(values, sample_counts, seed_counts), methods, len(cells))
    names = [f"lr {lr:g}, {epochs} epochs" for lr, epochs in cells] + [*SUMMARIES]
    rows = []
    for measure, value in found.items():
        low, high = drawn[measure].nanquantile(value.new_tensor([0.025, 0.975]), dim=0)
        for i, name in enumerate(names[: value.shape[1]]):
            for j, method in enumerate(methods):
                numbers = (float(value[0, i, j]), float(low[i, j]), float(high[i, j]))
                rows.append((name, method, measure, *numbers, n_samples, n_seeds))
    return pd.DataFrame(rows, columns=COLUMNS)


def _right(
    cells: dict[tuple[float, int], RunSet], chosen: pd.DataFrame, methods: list[str]
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Whether each test sample is right, and the clusters (N,) of the test samples.

    The first is (cells * (methods + 1), N) float64 for each seed: with the gammas of `chosen`, then cross-fitted.
    """
    blocks = [[] for _ in range(chosen["seed"].nunique())]
    for (lr, epochs), runs in cells.items():
        own = chosen[(chosen["lr"] == lr) & (chosen["epochs"] == epochs)].set_index(["seed", "method"])["gamma"]
        for block, spec in zip(blocks, runs.specs):
            test, split = runs.outputs(spec, spec.epochs, "test"), runs.split(spec)
            clusters = runs.clusters(test)
            for method in methods:
                shifted = shift_logits(test.logits, split, own[spec.seed, method])
                block.append((shifted.argmax(1) == test.labels).double())
            parts = generator_for("cross-fitting", runs.benchmark, spec.seed)
            block.append(cross_fitted_right(test.logits, test.labels, split, clusters, parts).double())
    return [torch.stack(block) for block in blocks], clusters


def _measures(accuracy: torch.Tensor, methods: list[str], n_cells: int) -> dict[str, torch.Tensor]:
    """The measures from resampled accuracies (R, cells * methods): (R, cells + summaries, methods) each; `gain` has no
    summaries.
    """
    accuracy = accuracy.unflatten(1, (n_cells, len(methods)))
    gain = accuracy - accuracy[:, :, methods.index(NONE), None]
    oracle = gain[:, :, methods.index(CROSS_FITTED), None]
    regret, recovered = oracle - gain, (gain / oracle).where(oracle > 0, torch.nan)
    worthwhile = recovered.where(oracle >= WORTHWHILE, torch.nan)
    regret = torch.cat([regret, regret.quantile(0.5, 1, keepdim=True), regret.amax(1, keepdim=True)], 1)
    summaries = [worthwhile.nanquantile(q, dim=1, keepdim=True) for q in (0.5, 0.0)]
    return {"gain": gain, REGRET: regret, RECOVERED: torch.cat([recovered, *summaries], 1)}


def development(benchmark: str, profile: str, device: str = "") -> pd.DataFrame:
    """`regrets` on the development seeds of the profile's grid; no row if the profile has no such seeds."""
    seeds = grid(benchmark, profile).development
    if not seeds:
        return pd.DataFrame(columns=COLUMNS)
    cells = read_cells(benchmark, profile, seeds, device)
    return regrets(cells, choices(cells))


def verdicts(found: pd.DataFrame) -> str:
    """Each method of `regrets` compared with the goals in words, one line per method."""
    wide = found.pivot(index="method", columns=["measure", "cell"], values="value")
    lines = []
    for method in found["method"].unique():
        if method in (NONE, ORACLE, CROSS_FITTED):
            continue
        median, worst = (wide.loc[method, (REGRET, summary)] for summary in SUMMARIES)
        share = wide.loc[method, (RECOVERED, "worst")]
        reached = median <= MEDIAN_GOAL and worst <= WORST_GOAL and (pd.isna(share) or share >= RECOVERED_GOAL)
        lines.append(
            f"{method}: goals {'reached' if reached else 'missed'}; regret in points: median {100 * median:.2f} (goal "
            f"{100 * MEDIAN_GOAL:.1f}), worst setting {100 * worst:.2f} (goal {100 * WORST_GOAL:.1f}); least recovered "
            f"gain {share:.2f} (goal {RECOVERED_GOAL:.2f})"
        )
    return "\n".join(lines)
