"""Which methods complement each other: pairs of networks as a matrix, and ensembles beside single networks."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..analysis.metrics import METRICS
from ..analysis.metrics.complementarity import MEASURES
from ..analysis.metrics.ensembles import BEST, ENSEMBLES
from .style import ABSENT, SEEN

ANNOTATED = 20  # networks, at most, whose cells carry numbers
LOOKS = {"none": ("no shift", SEEN, "-"), "stand_in": ("every network with its own stand-in shift", ABSENT, "--")}


def draw_pairs(means: pd.DataFrame, below: str, above: str, titles: Mapping[str, str], ax: Axes) -> Axes:
    """Two measures of every pair of networks as one grey matrix, percentages in the cells of at most 20 networks.

    means : columns a, b, metric, mean, of one treatment and group. below, above : the metrics under and over the
    diagonal, such as `agreement` and `agreement_null`, of `complementarity.MEASURES`; darker is more. titles : of
    networks that are not to be named as in the table.
    """
    names = list(dict.fromkeys([*means["a"], *means["b"]]))
    place = {name: row for row, name in enumerate(names)}
    matrix = np.full((len(names), len(names)), np.nan)
    for row in means.to_dict("records"):
        first, second = sorted((place[row["a"]], place[row["b"]]))
        if row["metric"] == below:
            matrix[second, first] = 100 * row["mean"]
        if row["metric"] == above:
            matrix[first, second] = 100 * row["mean"]
    image = ax.imshow(matrix, cmap="Greys", vmin=min(0, np.nanmin(matrix)), vmax=100)
    ax.figure.colorbar(image, ax=ax, label="percent", shrink=0.8)
    if len(names) <= ANNOTATED:
        size = min(8, 130 / len(names))
        for (row, column), value in np.ndenumerate(matrix):
            if not np.isnan(value):
                look = {"ha": "center", "va": "center", "fontsize": size}
                ax.text(column, row, f"{value:.0f}", color="white" if image.norm(value) > 0.5 else "black", **look)
    shown = [titles.get(name, name) for name in names]
    ax.set_xticks(range(len(names)), shown, rotation=90, fontsize=8)
    ax.set_yticks(range(len(names)), shown, fontsize=8)
    ax.set_title(f"below: {MEASURES[below]}\nabove: {MEASURES[above]}", fontsize=9)
    ax.grid(False)
    return ax


def draw_ensembles(levels: pd.DataFrame, metric: str, ax: Axes) -> Axes:
    """A metric of every ensemble and of the single networks, without and with shifts, with 95 % intervals.

    levels : columns ensemble, treatment, metric, mean, low, high, n_samples, n_seeds. Fractions become percent. A
    hollow mark is an *oracle*. A thin line marks the best single network of each treatment.
    """
    chosen, known = levels[levels["metric"] == metric], METRICS[metric]
    scale = 100 if known.unit == "%" else 1
    names = [name for name in ENSEMBLES if name in set(chosen["ensemble"])]
    for (treatment, (label, colour, dash)), aside in zip(LOOKS.items(), (0.15, -0.15)):
        own = chosen[chosen["treatment"] == treatment].set_index("ensemble")
        ax.axvline(scale * own.loc[BEST, "mean"], color=colour, linestyle=dash, linewidth=0.8)
        for row, name in zip(np.arange(len(names))[::-1] + aside, names):
            found, ensemble = own.loc[name], ENSEMBLES[name]
            ax.hlines(row, scale * found["low"], scale * found["high"], color=colour, linestyle=dash, linewidth=1.5)
            face = "white" if ensemble.oracle else colour
            ax.plot(scale * found["mean"], row, ensemble.marker, color=colour, markerfacecolor=face, markersize=6)
        ax.plot([], [], color=colour, linestyle=dash, label=label)
    seeds = int(chosen["n_seeds"].max())
    n = f"{chosen['n_samples'].min()} samples, {seeds} seed{'s' * (seeds > 1)}"
    ax.set_yticks(np.arange(len(names))[::-1], [ENSEMBLES[name].title for name in names])
    title = f"{known.title} (%)" if known.unit == "%" else known.title
    ax.set(xlabel=f"{title}\n95 % interval, {n}", ylim=(-0.6, len(names) - 0.4))
    ax.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1))
    return ax
