"""The seen-absent curve, shifts on it, and estimators of gamma compared."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes

from ..analysis.gamma.curve import SeenAbsentCurve
from ..analysis.gamma.estimators import ESTIMATORS, MATCHED_STAND_IN, NONE
from ..analysis.gamma.posthoc import BASELINES
from ..analysis.metrics import METRICS
from .series import COLOURS
from .style import ABSENT, BOTH, SEEN

METHODS = ESTIMATORS | BASELINES  # what can be done after fine-tuning: each has a title and a marker


def draw_curves(curves: pd.DataFrame, points: pd.DataFrame, ax: Axes) -> Axes:
    """Seen-absent curves, one thin line per seed, and where each way to choose gamma lands on it."""
    looks = {"pre-trained": (BOTH, "--"), "BatchNorm only": ("black", ":"), "fine-tuned": (ABSENT, "-")}
    for (checkpoint, _), rows in curves.groupby(["checkpoint", "seed"], sort=False):
        colour, dash = looks[checkpoint]
        ax.plot(100 * rows["acc_sy"], 100 * rows["acc_uy"], color=colour, linestyle=dash, linewidth=1)
    for (checkpoint, method), rows in points.groupby(["checkpoint", "method"], sort=False):
        ax.scatter(
            100 * rows["acc_sy"],
            100 * rows["acc_uy"],
            marker=METHODS[method].marker,
            color=looks[checkpoint][0],
            edgecolor="white",
            s=110 if METHODS[method].oracle else 48,
            zorder=3,
        )
    lines = [
        mpl.lines.Line2D([], [], color=colour, linestyle=dash, label=name) for name, (colour, dash) in looks.items()
    ]
    marks = [
        mpl.lines.Line2D([], [], color="black", marker=known.marker, linestyle="none", label=known.title)
        for name, known in METHODS.items()
        if name in set(points["method"])
    ]
    ax.legend(handles=lines + marks, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
    ax.set(xlabel="Acc$_{S/Y}$ (%)", ylabel="Acc$_{U/Y}$ (%)", xlim=(0, None), ylim=(0, None))
    return ax


def draw_accuracy_by_gamma(curves: pd.DataFrame, points: pd.DataFrame, ax: Axes) -> Axes:
    """Accuracies of one fine-tuned model as the shift grows, with the shifts of each method marked."""
    for metric in ("acc_sy", "acc_uy", "acc_yy"):
        known = METRICS[metric]
        ax.plot(
            curves["gamma"],
            100 * curves[metric],
            color=COLOURS[known.colour_of],
            linestyle={"acc_yy": "--"}.get(metric, known.dash),
            label=known.title,
        )
    for _, point in points.iterrows():
        ax.axvline(point["gamma"], color="black", linewidth=0.8, linestyle=":")
        ax.plot(
            point["gamma"],
            100 * point["acc_yy"],
            color="black",
            marker=METHODS[point["method"]].marker,
            markersize=9 if METHODS[point["method"]].oracle else 6,
        )
    ax.legend(fontsize=8, loc="upper right")
    ax.set(xlabel="$\\gamma$ added to absent logits", ylabel="test accuracy (%)", ylim=(-3, 103))
    return ax


def draw_seen_confusions(confusions: pd.DataFrame, ax: Axes, most: int = 12) -> Axes:
    """The seen classes that take most absent-class test samples of one seed, summed over absent classes.

    Of a long name the beginning and the end are written.
    """
    taken = confusions.groupby("seen")["taken"].sum().sort_values(ascending=False, kind="stable").head(most)[::-1]
    names = [name if len(name) <= 24 else f"{name[:14]}…{name[-9:]}" for name in taken.index]
    ax.barh(range(len(taken)), taken.to_numpy(), color=SEEN)
    ax.set_yticks(range(len(taken)), names, parse_math=False)
    ax.set(xlabel=f"absent-class test samples taken,\nof {confusions['taken'].sum()} taken in all")
    ax.grid(axis="y", visible=False)
    return ax


def draw_regrets(regrets: pd.DataFrame, ax: Axes) -> Axes:
    """The regret in points of each method: one grey mark per setting, and the median over settings with its 95 %
    interval.

    regrets : columns cell, method, measure, value, low, high. The axis is linear up to 2 points and logarithmic beyond.
    """
    regrets = regrets[regrets["measure"] == "regret"]
    cells = [cell for cell in regrets["cell"].unique() if cell not in ("median", "worst")]
    methods = [method for method in regrets["method"].unique() if method in METHODS]
    places = {method: place for place, method in enumerate(reversed(methods))}
    for number, cell in enumerate(cells):
        rows = regrets[(regrets["cell"] == cell) & regrets["method"].isin(methods)]
        height = rows["method"].map(places) + 0.3 * (number / max(len(cells) - 1, 1) - 0.5)
        ax.scatter(100 * rows["value"], height, color=BOTH, s=14, marker="o")
    middle = regrets[(regrets["cell"] == "median") & regrets["method"].isin(methods)]
    height = middle["method"].map(places)
    ax.hlines(height, 100 * middle["low"], 100 * middle["high"], color=ABSENT, linewidth=1.5)
    ax.scatter(100 * middle["value"], height, color=ABSENT, marker="D", zorder=3)
    marks = [
        mpl.lines.Line2D([], [], color=colour, marker=marker, linestyle=dash, label=label)
        for label, colour, marker, dash in (
            (f"one of {len(cells)} settings", BOTH, "o", "none"),
            ("their median, 95 % interval", ABSENT, "D", "-"),
        )
    ]
    ax.legend(handles=marks, fontsize=8, loc="lower right")
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_xscale("symlog", linthresh=2)
    ticks = [-2, -1, 0, 1, 2, 5, 10, 20, 50]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.set_yticks(list(places.values()), [METHODS[method].title for method in places])
    ax.set(xlabel="regret: Acc$_{Y/Y}$ of the cross-fitted oracle minus the method's (points)", xlim=(-2, 60))
    return ax


def draw_label_shift(regrets: pd.DataFrame, ax: Axes) -> Axes:
    """The regret over the share of absent samples: a line for each method and told share, with 95 % intervals.

    regrets : from the study of label shift, with columns absent_share, told, method, regret, low, high.
    """
    dashes = {"nothing": ":", "classes": "--", "true": "-", "estimated": "-."}
    named = {"classes": ", share of the classes", "true": ", true share", "estimated": ", estimated share"}
    colours = {NONE: BOTH, "stand_in": SEEN, MATCHED_STAND_IN: ABSENT}
    for method, colour in colours.items():
        for told, rows in regrets[regrets["method"] == method].groupby("told", sort=False):
            label = METHODS[method].title.replace("\n", " ") + named.get(told, "")
            known = {"color": colour, "linestyle": dashes[told], "marker": METHODS[method].marker}
            ax.plot(100 * rows["absent_share"], 100 * rows["regret"], label=label, **known)
            ax.fill_between(
                100 * rows["absent_share"], 100 * rows["low"], 100 * rows["high"], color=colour, alpha=0.08, linewidth=0
            )
    ax.legend(fontsize=8)
    ax.set(xlabel="absent images (%)", ylabel="accuracy below the oracle's (points)", ylim=(0, None))
    return ax


def draw_gamma(curve: SeenAbsentCurve, confusion: torch.Tensor, gamma: float, axes: Sequence[Axes]) -> None:
    """One shift on three axes: its place on the curve, its accuracies, and where the samples of each group go."""
    point = curve.at(gamma)
    axes[0].plot(100 * curve.acc_sy, 100 * curve.acc_uy, color=ABSENT, linewidth=1)
    axes[0].plot(100 * point.acc_sy, 100 * point.acc_uy, color="black", marker="o")
    axes[0].set(
        xlabel="Acc$_{S/Y}$ (%)",
        ylabel="Acc$_{U/Y}$ (%)",
        xlim=(0, None),
        ylim=(0, None),
        title=f"$\\gamma$ = {gamma:.2f}",
    )
    keys = ("acc_sy", "acc_uy", "acc_yy")
    bars = axes[1].bar(
        ["seen", "absent", "all"],
        [100 * getattr(point, key) for key in keys],
        color=[COLOURS[METRICS[key].colour_of] for key in keys],
        hatch=["//", "", ".."],
        edgecolor="white",
    )
    axes[1].bar_label(bars, fmt="%.1f")
    axes[1].set(ylabel="test accuracy among all classes (%)", ylim=(0, 108))
    axes[2].imshow(confusion.numpy(), cmap="Greys", vmin=0, vmax=2.5)
    for row, column in np.ndindex(2, 2):
        axes[2].text(column, row, f"{100 * confusion[row, column]:.1f} %", ha="center", va="center")
    axes[2].set_xticks([0, 1], ["seen", "absent"])
    axes[2].set_yticks([0, 1], ["seen", "absent"], rotation=90, va="center")
    axes[2].set(xlabel="predicted group", ylabel="true group")
    axes[2].grid(visible=False)
