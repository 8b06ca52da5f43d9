"""What fine-tuning does to other tasks, against how far the network moved; and tasks learnt one after another."""

from collections.abc import Mapping

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes

from .style import ABSENT, BOTH, SEEN

DISTANCES = {"feature": "feature distance (LDIFS)", "parameter": "parameter distance, relative"}
LOOKS = ((SEEN, "o", "-"), (ABSENT, "s", "--"), (BOTH, "^", "-."), ("black", "D", ":"))


def draw_forgetting(table: pd.DataFrame, titles: Mapping[str, str], ax: Axes) -> Axes:
    """The change of accuracy on one other task over a distance: a mark for each method, named, with its interval.

    table : from `forgetting.against_distance`, the rows of one task, metric and distance. titles : of methods that are
    not to be named as in the table. The distance axis is logarithmic beyond the smallest distance above 0.
    """
    rows = table.sort_values("value", ignore_index=True)
    places, means = rows["value"].to_numpy(), 100 * rows["mean"].to_numpy()
    ends = [means - 100 * rows["low"], 100 * rows["high"] - means]
    ax.axhline(0, color="black", linewidth=0.8)
    ax.errorbar(places, means, yerr=ends, color=ABSENT, marker="o", markersize=4, linewidth=0, elinewidth=1, capsize=2)
    for number, row in rows.iterrows():
        name = titles.get(row["method"], row["method"])
        above = number % 2 == 0  # neighbours are named on different sides
        ax.annotate(
            f"{name} ({row['options']})" if row["options"] else name,
            (row["value"], 100 * row["mean"]),
            xytext=(4, 5 if above else -5),
            textcoords="offset points",
            va="bottom" if above else "top",
            fontsize=7,
        )
    moved = rows["value"][rows["value"] > 0]
    if len(moved):
        ax.set_xscale("symlog", linthresh=moved.min())
    seeds = rows["n_seeds"].max()
    ax.set(
        xlabel=f"{DISTANCES[rows['distance'].iloc[0]]}\n95 % interval, {rows['n'].iloc[0]} images, "
        f"{seeds} seed{'s' * (seeds > 1)}",
        ylabel="change of accuracy (points)",
    )
    ax.margins(x=0.2)
    return ax


def draw_sequence(accuracies: pd.DataFrame, task: str, titles: Mapping[str, str], ax: Axes) -> Axes:
    """Accuracy on one task along a sequence: a line of means over seeds for each method, and a small mark a seed.

    accuracies : from `task_sequence.sequence_accuracies`; titles : of tasks and methods. A dotted line marks where the
    task itself is learnt.
    """
    rows = accuracies[accuracies["task"] == task]
    for number, (method, own) in enumerate(rows.groupby("method", sort=False)):
        colour, marker, dash = LOOKS[number % len(LOOKS)]
        means = 100 * own.groupby("after")["accuracy"].mean()
        ax.plot(
            means.index, means, color=colour, marker=marker, linestyle=dash, label=titles.get(method, method), zorder=3
        )
        ax.plot(own["after"], 100 * own["accuracy"], color=colour, marker=marker, markersize=3, linewidth=0, alpha=0.5)
    ax.axvline(rows["learnt"].iloc[0], color="black", linewidth=0.8, linestyle=":")
    order = accuracies.drop_duplicates("task").sort_values("learnt")["task"]
    ax.set_xticks(range(len(order) + 1), ["start", *(titles.get(name, name).replace(" ", "\n") for name in order)])
    ax.set(
        title=titles.get(task, task),
        xlabel=f"after learning; n={rows['seed'].nunique()}",
        ylabel="linear probe, test accuracy (%)",
    )
    ax.yaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    ax.legend(fontsize=8)
    return ax
