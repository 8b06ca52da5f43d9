"""What fine-tuning does to other tasks, against how far the network moved; and tasks learnt one after another."""

from collections.abc import Mapping

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes

from .style import ABSENT, BOTH, SEEN

DISTANCES = {"feature": "feature distance (LDIFS)", "parameter": "parameter distance, relative"}
LOOKS = ((SEEN, "o", "-"), (ABSENT, "s", "--"), (BOTH, "^", "-."), ("black", "D", ":"))


def draw_forgetting(table: pd.DataFrame, titles: Mapping[str, str], ax: Axes) -> Axes:
    """The change of accuracy on one other task over a distance: a numbered mark for each method, and its interval.

    table : from `forgetting.against_distance`, the rows of one task, metric and distance. titles : of methods that are
    not to be named as in the table.
    """
    ax.axhline(0, color="black", linewidth=0.8)
    names = []
    for number, row in enumerate(table.to_dict("records"), 1):
        place, mean = row["value"], 100 * row["mean"]
        ends = [[mean - 100 * row["low"]], [100 * row["high"] - mean]]
        ax.errorbar(place, mean, yerr=ends, color=ABSENT, marker="o", markersize=11, markerfacecolor="white", capsize=2)
        ax.text(place, mean, str(number), ha="center", va="center", fontsize=7, zorder=4)
        title = titles.get(row["method"], row["method"])
        name = f"{title} ({row['options']})" if row["options"] else title
        names.append(mpl.lines.Line2D([], [], color="black", marker=f"${number}$", linestyle="none", label=name))
    seeds, n = int(table["n_seeds"].max()), table["n"].iloc[0]
    ax.set(
        xlabel=f"{DISTANCES[table['distance'].iloc[0]]}\n95 % interval, {n} images, {seeds} seed{'s' * (seeds > 1)}",
        ylabel="change of accuracy (points)",
    )
    ax.legend(handles=names, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=3)
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
    seeds = rows["seed"].nunique()
    order = accuracies.drop_duplicates("task").sort_values("learnt")["task"]
    ax.set_xticks(range(len(order) + 1), ["start", *(titles.get(name, name).replace(" ", "\n") for name in order)])
    ax.set(
        title=titles.get(task, task),
        xlabel=f"after learning\nmeans of {seeds} seed{'s' * (seeds > 1)}, and each seed",
        ylabel="linear probe, test accuracy (%)",
    )
    ax.yaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    ax.legend(fontsize=8)
    return ax
