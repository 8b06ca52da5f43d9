"""Figures of the explanation: the head's updates, features in one plane, and which seen classes move an absent
sample.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from ..core.class_split import ClassSplit
from .style import ABSENT, BOTH, SEEN

GROUPS = {"seen": (SEEN, "o"), "absent": (ABSENT, "s")}


def draw_update_similarity(matrix: torch.Tensor, split: ClassSplit, ax: Axes) -> Axes:
    """Cosines between the head updates of all pairs of classes (C, C), seen classes first."""
    order = [*split.seen, *split.absent]
    picture = ax.imshow(matrix[order][:, order].numpy(), cmap="PuOr", vmin=-1, vmax=1, interpolation="nearest")
    edge = len(split.seen) - 0.5
    ax.axhline(edge, color="black", linewidth=0.8)
    ax.axvline(edge, color="black", linewidth=0.8)
    middles = [(edge - 0.5) / 2, (edge + len(order) - 0.5) / 2]
    ax.set_xticks(middles, ["seen", "absent"])
    ax.set_yticks(middles, ["seen", "absent"], rotation=90, va="center")
    ax.grid(visible=False)
    ax.figure.colorbar(picture, ax=ax, label="cosine of head updates", shrink=0.85)
    return ax


def draw_view(views: pd.DataFrame, view: str, ax: Axes, arrows: int = 60) -> Axes:
    """Test samples in one plane, hollow before and filled after, with arrows for some of them."""
    plane = views[views["view"] == view]
    start, end = (
        plane[plane["checkpoint"] == checkpoint].set_index("sample") for checkpoint in plane["checkpoint"].unique()
    )
    for group, (colour, marker) in GROUPS.items():
        a, b = start[start["group"] == group], end[end["group"] == group]
        ax.scatter(
            a["x"],
            a["y"],
            s=7,
            facecolor="none",
            edgecolor=colour,
            linewidth=0.4,
            marker=marker,
            alpha=0.6,
            label=f"{group}, before",
        )
        ax.scatter(b["x"], b["y"], s=7, color=colour, linewidth=0, marker=marker, alpha=0.8, label=f"{group}, after")
    some = start.index[:: max(1, len(start) // arrows)]
    lines = np.stack([start.loc[some, ["x", "y"]], end.loc[some, ["x", "y"]]], 1)
    ax.add_collection(LineCollection(lines, colors="black", linewidths=0.4, alpha=0.7))
    ax.legend(fontsize=7, loc="best", markerscale=2)
    ax.set(title={"pca": "PCA", "umap": "UMAP", "tsne": "t-SNE"}[view], xlabel="axis 1", ylabel="axis 2")
    return ax


def draw_step_check(checks: pd.DataFrame, ax: Axes) -> Axes:
    """How far the predicted displacement is from the real one as the step shrinks, with a line of slope one."""
    for (_, rows), marker in zip(checks.groupby("seed"), "osD^v"):
        ax.loglog(
            rows["eta"],
            rows["relative_error"],
            color=ABSENT,
            marker=marker,
            label=f"relative error, seed {rows['seed'].iloc[0]}",
        )
        ax.loglog(
            rows["eta"],
            1 - rows["cosine"],
            color=SEEN,
            marker=marker,
            linestyle="--",
            label=f"1 - cosine, seed {rows['seed'].iloc[0]}",
        )
    middle = checks.sort_values("eta").iloc[len(checks) // 2]
    etas = np.array([checks["eta"].min(), checks["eta"].max()])
    ax.loglog(etas, middle["relative_error"] * etas / middle["eta"], color=BOTH, linestyle=":", label="slope 1")
    ax.legend(fontsize=7)
    ax.set(xlabel="learning rate of the single step", ylabel="predicted against real displacement")
    return ax


def draw_influences(influences: pd.DataFrame, score: str, ax: Axes) -> Axes:
    """How much each seen class moves each target, against how similar it was beforehand; both as ranks within a
    target.
    """
    ranks = influences.groupby(["seed", "target"])[[score, "pull"]].rank(pct=True)
    ax.scatter(ranks[score], ranks["pull"], s=3, color=BOTH, alpha=0.35, linewidth=0)
    bins = pd.cut(ranks[score], np.linspace(0, 1, 11))
    middle = ranks.groupby(bins, observed=True)["pull"].mean()
    ax.plot([interval.mid for interval in middle.index], middle, color=ABSENT, marker="s", label="mean in tenths")
    ax.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
    ax.legend(fontsize=8, loc="lower right")
    ax.set(
        xlabel=f"{score.replace('_', ' ')} with the seen class (rank in its target)",
        ylabel="length of its pull (rank in its target)",
        xlim=(0, 1.02),
        ylim=(0, 1.02),
    )
    return ax


def draw_pulls(pictures: torch.Tensor, titles: Sequence[str], axes: Sequence[Axes]) -> None:
    """A target's picture and those of the seen classes that move it most, one on each axis."""
    for ax, picture, title in zip(axes, pictures, titles, strict=True):
        ax.imshow(picture.permute(1, 2, 0).numpy())
        ax.set_title(title, fontsize=8)
        ax.set_axis_off()


def draw_motion(plane: pd.DataFrame, ax: Axes) -> Axes:
    """One target in a plane of feature space: where it was, where the first step and the whole fine-tuning take it, and
    the seen classes that pull it. Columns what (`target`, `first step`, `fine-tuned` or a seen class's name), x, y."""
    at = plane.set_index("what")[["x", "y"]]
    ax.update_datalim(at.to_numpy())  # arrows alone do not widen the axes
    start = at.loc["target"]
    for what, colour, dash in (("first step", SEEN, "--"), ("fine-tuned", ABSENT, "-")):
        ax.annotate(
            "",
            at.loc[what],
            start,
            arrowprops={"arrowstyle": "->", "color": colour, "linestyle": dash, "linewidth": 1.6},
        )
        ax.plot(
            [], [], color=colour, linestyle=dash, label=f"{what}" + (" (direction)" if what == "first step" else "")
        )
    ax.plot(*start, color="black", marker="s", linestyle="none", label="target, before")
    seen = at.drop(["target", "first step", "fine-tuned"])
    ax.scatter(seen["x"], seen["y"], color=SEEN, marker="o", s=24, label="class means that pull it, before")
    for line, (name, place) in enumerate(seen.sort_values("y").iterrows()):
        ax.annotate(name, place, textcoords="offset points", xytext=(6, 9 * (line - 1)), va="center", fontsize=7)
    ax.margins(0.25)
    ax.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    ax.set(xlabel="main directions of these points", ylabel="")
    return ax


def draw_correlations(table: pd.DataFrame, ax: Axes) -> Axes:
    """Rank correlations of predictors with an outcome, with 95 % intervals; one colour and marker for each `split`."""
    looks = dict(zip(table["split"].unique(), ((ABSENT, "o"), (SEEN, "D"))))
    names = table["predictor"].unique()
    for number, (split, (colour, marker)) in enumerate(looks.items()):
        rows = table[table["split"] == split].set_index("predictor").loc[names]
        places = np.arange(len(names))[::-1] + 0.15 - 0.3 * number
        ax.hlines(places, rows["low"], rows["high"], color=colour, linewidth=1.5)
        ax.plot(
            rows["mean"],
            places,
            color=colour,
            marker=marker,
            linestyle="none",
            label=f"{split} seen classes, n = {rows['n_seeds'].iloc[0]}",
        )
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(np.arange(len(names))[::-1], [name.replace("_", " ") for name in names])
    ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.4, -0.16), ncols=2)
    ax.set(xlabel="Spearman correlation over absent classes, 95 % interval", xlim=(-1.05, 1.05))
    return ax
