"""Parameter-efficient methods: the regret of every estimator of gamma, and accuracy over trained parameters."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from ..analysis.gamma.estimators import ESTIMATORS
from .methods import number_methods
from .style import ABSENT, SEEN


def draw_regret_map(means: pd.DataFrame, titles: dict[str, str], ax: Axes) -> Axes:
    """The mean regret of every estimator for every method, in points, as a matrix; darker is more.

    means : columns method, estimator, mean, n; a method may lack some estimators. titles : of methods.
    """
    wide = 100 * means.pivot_table("mean", "method", "estimator", sort=False)
    wide = wide[[name for name in ESTIMATORS if name in wide]]
    image = ax.imshow(wide, cmap="Greys", vmin=0, aspect="auto")
    for row, values in enumerate(wide.to_numpy()):
        for column, value in enumerate(values):
            if not np.isnan(value):
                colour = "white" if image.norm(value) > 0.5 else "black"
                ax.text(column, row, f"{value:.1f}", color=colour, ha="center", va="center", fontsize=7)
    names = [ESTIMATORS[name].title.replace("\n", " ") for name in wide]
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    ax.set_yticks(range(len(wide)), [titles.get(name, name) for name in wide.index], fontsize=8)
    ax.set_title(f"regret in Acc$_{{Y/Y}}$ (points), mean of {int(means['n'].max())} seeds", fontsize=9)
    ax.grid(False)
    return ax


def draw_over_parameters(means: pd.DataFrame, trainable: pd.Series, metric: str, treatment: str, ax: Axes) -> Axes:
    """A metric of every method over the number of weights that it trains.

    means : columns method, treatment, metric, mean, std, as for `draw_method_plane`, whose numbers stand in the
    circles. trainable : the number of weights by method; networks that are not in it are left out.
    """
    chosen = means[(means["metric"] == metric) & (means["treatment"] == treatment)].set_index("method")
    for name, number in number_methods(means).items():
        if name not in trainable.index:
            continue
        x, y, spread = trainable[name], 100 * chosen.loc[name, "mean"], 100 * chosen.loc[name, "std"]
        colour = SEEN if name == "finetune" else ABSENT
        ax.vlines(x, y - spread, y + spread, color=colour, linewidth=0.8)
        ax.plot(x, y, "o", markersize=13, color="white", markeredgecolor=colour, zorder=3)
        ax.text(x, y, number, fontsize=7, color=colour, ha="center", va="center", zorder=4)
    ax.set(xscale="log", xlabel="trained weights, those of the head among them")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_major_formatter(EngFormatter())
    ax.xaxis.set_minor_formatter(NullFormatter())  # its labels overlap where the axis is short
    return ax
