"""Ablations: cells of a sweep as maps, by length, and side by side."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from .style import ABSENT, BOTH, SEEN

LOOKS = ((SEEN, "-", "o"), (ABSENT, "--", "s"), ("black", ":", "^"), (BOTH, "-.", "D"))
ASIDE = (1, 1.04, 1 / 1.04, 1.08)  # so that bars do not cover each other


def draw_map(means: pd.DataFrame, rows: str, columns: str, ax: Axes, limits: tuple[float, float]) -> Axes:
    """Means over the combinations of two fields, as a grey map with the percentage in every cell.

    means : one row for every combination, with the two fields and `mean`. limits : of the greys, fractions.
    """
    wide = means.pivot(index=rows, columns=columns, values="mean").sort_index().sort_index(axis=1)
    ax.imshow(wide, cmap="Greys", vmin=limits[0], vmax=limits[1], aspect="auto")
    middle = sum(limits) / 2
    for (row, column), value in np.ndenumerate(wide.to_numpy()):
        if not np.isnan(value):
            colour = "white" if value > middle else "black"
            ax.text(column, row, f"{100 * value:.0f}", ha="center", va="center", color=colour, fontsize=8)
    ax.set_xticks(range(wide.shape[1]), [f"{value:g}" for value in wide.columns], rotation=45)
    ax.set_yticks(range(wide.shape[0]), [f"{value:g}" for value in wide.index])
    ax.set(xlabel=columns.replace("_", " "), ylabel=rows.replace("_", " "))
    ax.grid(False)
    return ax


def draw_maps(means: pd.DataFrame, by: str, rows: str, columns: str, axes: Sequence[Axes]) -> Sequence[Axes]:
    """A map of `draw_map` for each value of the field `by`, on axes of their own and one scale of greys."""
    limits = 0, means["mean"].max()
    for ax, (name, own) in zip(axes, means.groupby(by, sort=False), strict=True):
        draw_map(own, rows, columns, ax, limits).set_title(name)
    return axes


def draw_by_length(table: pd.DataFrame, metric: str, ax: Axes, ylabel: str) -> Axes:
    """A metric over the epochs of the longest runs, one line a learning rate: means over seeds and each seed.

    table : from `ablations.by_epoch`. Fractions become percent. Epoch 0 is the pre-trained network.
    """
    longest = table[(table["metric"] == metric) & (table["epochs"] == table["epochs"].max())]
    for (lr, run), (colour, dash, marker) in zip(longest.groupby("lr"), cycle(LOOKS)):
        wide = 100 * run.pivot(index="epoch", columns="seed", values="value")
        ax.plot(wide.index, wide.mean(axis=1), color=colour, linestyle=dash, marker=marker, ms=4, label=f"lr {lr:g}")
        ax.plot(wide.index, wide, color=colour, linestyle=dash, linewidth=0.6, alpha=0.5)
    seeds = _seeds(longest["seed"].nunique())
    ax.set(xlabel=f"epoch of {longest['epochs'].max()} (mean of {seeds}, and each)", ylabel=ylabel)
    ax.set_ylim(bottom=0)
    ax.legend(fontsize=8)
    return ax


def draw_ends(means: pd.DataFrame, metric: str, ax: Axes, ylabel: str) -> Axes:
    """A metric at the end of training over its length, one line a learning rate, with 95 % intervals.

    means : columns lr, epochs, metric, mean, low, high, n_seeds, of one treatment. Fractions become percent.
    """
    chosen = means[means["metric"] == metric]
    for (lr, cells), aside, (colour, dash, marker) in zip(chosen.groupby("lr"), cycle(ASIDE), cycle(LOOKS)):
        cells = cells.sort_values("epochs")
        mean = 100 * cells["mean"]
        ends = [mean - 100 * cells["low"], 100 * cells["high"] - mean]
        look = {"color": colour, "linestyle": dash, "marker": marker, "capsize": 3, "label": f"lr {lr:g}"}
        ax.errorbar(aside * cells["epochs"], mean, yerr=None if chosen["low"].isna().any() else ends, **look)
    ax.set_xscale("log")
    lengths = sorted(chosen["epochs"].unique())
    ax.set_xticks(lengths, [f"{length:g}" for length in lengths])
    ax.minorticks_off()
    ax.set_xlim(lengths[0] / 1.3, lengths[-1] * 1.3)
    ax.set(xlabel=f"epochs of the whole training\n95 % interval, {_seeds(chosen['n_seeds'].max())}", ylabel=ylabel)
    ax.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    return ax


def draw_cells(means: pd.DataFrame, ax: Axes) -> Axes:
    """Cells of sweeps one below another: Acc_U/Y without a shift, with gamma* and by NCM, and AUSUC, in percent.

    means : columns study, cell, treatment, metric, mean, low, high, n_seeds. Means with 95 % intervals over seeds and
    classes.
    """
    if means.empty:
        ax.text(0.5, 0.5, "no cell in this profile", ha="center", va="center", transform=ax.transAxes)
        ax.axis("off")
        return ax
    means = means.assign(cell=means["study"].str.replace("_", " ") + "\n" + means["cell"].str.replace(", ", "\n"))
    kinds = (
        ("none", "acc_uy", "Acc$_{U/Y}$", SEEN, "o"),
        ("gamma* (oracle)", "acc_uy", "Acc$_{U/Y}$ with $\\gamma^*$ (oracle)", ABSENT, "s"),
        ("ncm (oracle)", "acc_uy", "Acc$_{U/Y}$ by NCM (oracle)", BOTH, "D"),
        ("none", "ausuc", "AUSUC", "black", "^"),
    )
    cells = list(means["cell"].unique())
    for offset, (treatment, metric, label, colour, marker) in zip((0.24, 0.08, -0.08, -0.24), kinds):
        own = means[(means["treatment"] == treatment) & (means["metric"] == metric)].set_index("cell").loc[cells]
        places = np.arange(len(cells))[::-1] + offset
        ax.hlines(places, 100 * own["low"], 100 * own["high"], color=colour, linewidth=1)
        ax.plot(100 * own["mean"], places, marker, color=colour, markersize=5, label=label)
    ax.set_yticks(np.arange(len(cells))[::-1], cells, fontsize=7)
    ax.set(xlabel=f"percent; 95 % interval, {_seeds(means['n_seeds'].max())}", ylim=(-0.6, len(cells) - 0.4))
    ax.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return ax


def _seeds(n: int) -> str:
    return f"{n} seeds" if n > 1 else "1 seed"
