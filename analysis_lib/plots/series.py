"""Metrics over epochs, changes and intervals."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from ..analysis.metrics import METRICS
from .style import ABSENT, BOTH, SEEN

COLOURS = {"s": SEEN, "u": ABSENT, "y": BOTH, "sum": "black"}


def draw_series(by_epoch: pd.DataFrame, metrics: Sequence[str], ax: Axes, ylabel: str) -> Axes:
    """Metrics over epochs in their own unit: mean over seeds with a band of one standard deviation. Epoch 0 is the
    pre-trained model.
    """
    for metric in metrics:
        known = METRICS[metric]
        rows = by_epoch[by_epoch["metric"] == metric]
        sns.lineplot(
            x=rows["epoch"],
            y=rows["value"],
            errorbar="sd",
            ax=ax,
            label=known.title,
            color=COLOURS[known.colour_of],
            linestyle=known.dash,
            marker=known.marker,
        )
    seeds = by_epoch["seed"].nunique()
    ax.set(xlabel=f"fine-tuning epoch (0: pre-trained)\nmean ± sd of {seeds} seed{'s' * (seeds > 1)}", ylabel=ylabel)
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    ax.legend(fontsize=8)
    return ax


def draw_by_epoch(by_epoch: pd.DataFrame, metrics: Sequence[str], ax: Axes, ylabel: str = "test accuracy (%)") -> Axes:
    """Fractions over epochs in percent, otherwise as `draw_series`."""
    draw_series(by_epoch.assign(value=100 * by_epoch["value"]), metrics, ax, ylabel)
    ax.set_ylim(-3, 103)
    return ax


def draw_by_checkpoint(ends: pd.DataFrame, metrics: Sequence[str], ax: Axes, ylabel: str = "test accuracy (%)") -> Axes:
    """Fractions of each network compared, in percent: the means over seeds joined by a line, and a small mark a seed.

    ends : columns seed, checkpoint, metric, value.
    """
    checkpoints = list(ends["checkpoint"].unique())
    for metric in metrics:
        known = METRICS[metric]
        wide = 100 * ends[ends["metric"] == metric].pivot(index="seed", columns="checkpoint", values="value")
        colour = COLOURS[known.colour_of]
        look = {"color": colour, "marker": known.marker}
        ax.plot(checkpoints, wide[checkpoints].mean(), **look, linestyle=known.dash, label=known.title)
        for _, values in wide.iterrows():
            ax.plot(checkpoints, values[checkpoints], **look, markersize=3, linestyle="none", alpha=0.5)
    ax.set(xlabel=f"means of {ends['seed'].nunique()} seeds, and each seed", ylabel=ylabel, ylim=(-3, 103))
    ax.legend(fontsize=8)
    return ax


def draw_changes(changes: pd.DataFrame, metrics: Sequence[str], ax: Axes) -> Axes:
    """Changes from pre-trained to fine-tuned with 95 % intervals over seeds; `changes` is from `tables.change`."""
    rows = changes.set_index("metric").loc[list(metrics)]
    places = np.arange(len(rows))[::-1]
    ax.axvline(0, color="black", linewidth=0.8)
    for place, (metric, row) in zip(places, rows.iterrows()):
        half = 0 if np.isnan(row["low"]) else 100 * (row["high"] - row["mean"])
        ax.errorbar(
            100 * row["mean"],
            place,
            xerr=half,
            color=COLOURS[METRICS[metric].colour_of],
            marker=METRICS[metric].marker,
            capsize=3,
            linestyle="none",
        )
    ax.set_yticks(places, [METRICS[metric].title for metric in metrics])
    ax.set(xlabel=f"change by fine-tuning (percentage points), n={rows['n'].iloc[0]:.0f}", ylim=(-0.6, len(rows) - 0.4))
    return ax


def draw_intervals(table: pd.DataFrame, ax: Axes, xlabel: str) -> Axes:
    """One row per `label` with its mean and 95 % interval, fractions as points; columns label, mean, low, high, and
    n_samples, n_seeds for the axis.
    """
    places = np.arange(len(table))[::-1]
    mean, ends = 100 * table["mean"].to_numpy(float), 100 * table[["low", "high"]].to_numpy(float)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.hlines(places, ends[:, 0], ends[:, 1], color=ABSENT, linewidth=1.5)
    ax.plot(mean, places, color=ABSENT, marker="o", linestyle="none")
    ax.set_yticks(places, table["label"])
    ax.set(
        xlabel=f"{xlabel}\n95 % interval, {table['n_samples'].min()} samples, {table['n_seeds'].iloc[0]} seeds",
        ylim=(-0.6, len(table) - 0.4),
    )
    return ax
