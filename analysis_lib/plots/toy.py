"""Figures of the toy example: decision regions in the input plane, displacements in the feature plane, the grid of variants.

Seen classes are orange: filled marks, plain ground. Absent ones are blue: hollow marks, hatched ground; so grey print reads too.
"""

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from torch.nn.functional import normalize

from ..core.class_split import ClassSplit
from ..core.errors import unknown
from ..studies.toy.measures import decision_grid
from ..studies.toy.network import Points, ToyResult
from .style import ABSENT, BOTH, SEEN

GROUND = {True: ("#FCE9DC", "#F3C6A4"), False: ("#E6EDF7", "#BACDE6")}  # seen or absent: tints of its classes, by turns
HATCH = {True: "", False: "//"}
HATCH_COLOUR = "#7F93B2"
MARK = {True: {"facecolor": SEEN, "edgecolor": "white"}, False: {"facecolor": "white", "edgecolor": ABSENT}}
NAMES = {True: "seen", False: "absent"}
CHANGES = {  # metric of toy_changes: label, colour, marker
    "acc_uy": ("head, Acc$_{U/Y}$", ABSENT, "s"),
    "star_acc_uy": ("head at $\\gamma^*$ (oracle), Acc$_{U/Y}$", SEEN, "o"),
    "ncm_acc_uy": ("NCM, Acc$_{U/Y}$", BOTH, "X"),
    "ausuc": ("AUSUC", "black", "D"),
}


def draw_toy_regions(result: ToyResult, checkpoint: str, gamma: float, ax: Axes, extent: float = 6.0) -> Axes:
    """Decision regions of `pre-trained` or `fine-tuned` with gamma on the absent logits, over the points of both domains.

    Squares are source training points, circles target test points; a number stands beside each target class. Raises
    UserError for an unknown checkpoint.
    """
    if checkpoint not in result.models:
        raise unknown("checkpoint", checkpoint, result.models)
    split, data = result.config.split, result.data
    axis, classes = decision_grid(result.models[checkpoint], split, gamma, extent)
    for c in range(split.num_classes):
        seen = c in split.seen
        tint = GROUND[seen][(split.seen if seen else split.absent).index(c) % 2]
        ground = ax.contourf(axis, axis, classes == c, levels=[0.5, 1.5], colors=[tint], hatches=[HATCH[seen]])
        ground.set(edgecolor=HATCH_COLOUR, linewidth=0)
        ax.contour(axis, axis, classes == c, levels=[0.5], colors="black", linewidths=0.8)
    _scatter(data.source, split, "s", 9, ax)
    _scatter(data.test, split, "o", 16, ax)
    for c in range(split.num_classes):
        middle = data.test.x[data.test.labels == c].mean(0)
        _number(c, middle, 26 * normalize(middle, dim=0), split, ax)
    ax.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
    ax.grid(False)
    return ax


def _scatter(points: Points, split: ClassSplit, marker: str, size: float, ax: Axes) -> None:
    for seen, look in MARK.items():
        x = points.x[split.is_seen(points.labels) == seen]
        ax.scatter(x[:, 0], x[:, 1], s=size, marker=marker, linewidth=0.5, zorder=3, **look)


def _number(c: int, place: torch.Tensor, offset: torch.Tensor, split: ClassSplit, ax: Axes) -> None:
    """The number of a class, `offset` typographic points away from a place."""
    look = MARK[c in split.seen]
    ax.annotate(str(c), place.tolist(), offset.tolist(), textcoords="offset points", color=look["edgecolor"], ha="center", va="center", fontsize=8,
                fontweight="bold", zorder=5, bbox={"boxstyle": "circle,pad=0.2", "linewidth": 0.8, **look})


def draw_region_legend(ax: Axes) -> Legend:
    """The legend of `draw_toy_regions`, below one panel or between several."""
    marks = [Line2D([], [], linestyle="none", marker=marker, markersize=7, label=f"{domain}, {NAMES[seen]} class",
                    markerfacecolor=look["facecolor"], markeredgecolor=look["edgecolor"])
             for marker, domain in (("s", "pre-training domain"), ("o", "target domain")) for seen, look in MARK.items()]
    grounds = [Patch(facecolor=GROUND[seen][0], edgecolor=HATCH_COLOUR, linewidth=0.5, hatch=HATCH[seen], label=f"predicted: {NAMES[seen]} class")
               for seen in MARK]
    return ax.figure.legend(handles=marks + grounds, loc="outside lower center", ncols=3, fontsize=8)


@torch.no_grad()
def draw_toy_displacement(result: ToyResult, ax: Axes) -> Axes:
    """Arrows in the feature plane from before to after fine-tuning: one per target test point, and a bold one per class."""
    split, test = result.config.split, result.data.test
    start, end = (model(test.x)[0] for model in result.models.values())
    arrows = {"angles": "xy", "scale_units": "xy", "scale": 1}
    for seen, colour in {True: SEEN, False: ABSENT}.items():
        rows = split.is_seen(test.labels) == seen
        ax.quiver(*start[rows].T, *(end - start)[rows].T, color=colour, alpha=0.35, width=0.002, **arrows)
        ax.plot([], [], color=colour, linewidth=2, linestyle="-" if seen else "--", label=f"{NAMES[seen]} class: target test points, and their mean")
    for c in range(split.num_classes):
        here, there = (features[test.labels == c].mean(0) for features in (start, end))
        seen = c in split.seen
        ax.annotate("", there.tolist(), here.tolist(), zorder=4, arrowprops={
            "arrowstyle": "-|>", "color": SEEN if seen else ABSENT, "linewidth": 2, "linestyle": "-" if seen else "--", "shrinkA": 0, "shrinkB": 0})
        _number(c, here, -12 * normalize(there - here, dim=0), split, ax)
    ax.update_datalim(torch.cat([start, end]).numpy())
    ax.autoscale_view()
    ax.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    ax.set(xlabel="feature 1", ylabel="feature 2", aspect="equal")
    return ax


def draw_toy_grid(changes: pd.DataFrame, ax: Axes) -> Axes:
    """The changes of `toy_changes`, one band per variant: a small mark per run and a large one for the mean over runs."""
    variants = list(changes["variant"].unique())
    ax.axvline(0, color="black", linewidth=0.8)
    for line, (metric, (label, colour, marker)) in enumerate(CHANGES.items()):
        rows = changes[changes["metric"] == metric]
        places = rows["variant"].map(variants.index) + 0.2 * (line - (len(CHANGES) - 1) / 2)
        ax.scatter(100 * rows["change"], places, marker="|", s=18, color=colour, alpha=0.5, linewidth=0.8)
        means = rows.assign(place=places).groupby("variant", sort=False)[["change", "place"]].mean()
        ax.scatter(100 * means["change"], means["place"], marker=marker, s=42, color=colour, edgecolor="white", linewidth=0.6, zorder=3, label=label)
    for border in np.arange(len(variants) - 1) + 0.5:
        ax.axhline(border, color="black", linewidth=0.4, alpha=0.4)
    ax.set_yticks(range(len(variants)), variants)
    ax.grid(axis="y", visible=False)
    runs = changes.groupby(["variant", "metric"]).size().iloc[0]
    ax.set(xlabel=f"change by fine-tuning (percentage points)\nticks: {runs} runs; marks: their mean", ylim=(len(variants) - 0.5, -0.5))
    ax.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return ax
