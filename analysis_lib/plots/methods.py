"""Fine-tuning methods compared: the plane of seen against absent accuracy, and WiSE over alpha."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .style import ABSENT, BOTH, SEEN

CONTROLS = ("pre-trained", "BatchNorm only")


def number_methods(means: pd.DataFrame) -> dict[str, str]:
    """A number for each method of a table, in its order, and a letter for each network that no method trained."""
    names = means["method"].unique()
    letters = iter("AB")
    numbers = iter(range(1, len(names) + 1))
    return {name: next(letters) if name in CONTROLS else str(next(numbers)) for name in names}


def draw_method_plane(means: pd.DataFrame, treatment: str, ax: Axes) -> Axes:
    """Each network's Acc_U/Y over its Acc_S/Y without a shift, with an arrow to where a shift takes it.

    means : columns method, treatment, metric, mean, of one learning rate. The circle without a shift carries the
    network's number, see `draw_method_key`; the arrow ends at `treatment`.
    """
    wide = 100 * means.pivot_table("mean", ["method", "treatment"], "metric", sort=False)
    for name, number in number_methods(means).items():
        colour = BOTH if name in CONTROLS else SEEN if name == "finetune" else ABSENT
        start = wide.loc[(name, "none")]
        if (name, treatment) in wide.index:
            end = wide.loc[(name, treatment)]
            ax.update_datalim([(end["acc_sy"], end["acc_uy"])])  # an arrow alone does not widen the axes
            ax.annotate(
                "",
                (end["acc_sy"], end["acc_uy"]),
                (start["acc_sy"], start["acc_uy"]),
                arrowprops={"arrowstyle": "->", "color": colour, "alpha": 0.7, "shrinkA": 6, "shrinkB": 0},
            )
        ax.plot(start["acc_sy"], start["acc_uy"], "o", markersize=13, color="white", markeredgecolor=colour, zorder=3)
        ax.text(start["acc_sy"], start["acc_uy"], number, fontsize=7, color=colour, ha="center", va="center", zorder=4)
    ax.set(xlabel="seen among all: Acc$_{S/Y}$ (%)", ylabel="absent among all: Acc$_{U/Y}$ (%)")
    return ax


def draw_method_key(means: pd.DataFrame, titles: dict[str, str], ax: Axes) -> Axes:
    """The numbers of `draw_method_plane` with the titles of the methods, in axes of their own."""
    lines = [f"{number:>2}  {titles.get(name, name)}" for name, number in number_methods(means).items()]
    ax.text(0, 1, "\n".join(lines), fontsize=8, va="top", linespacing=1.5, transform=ax.transAxes)
    ax.axis("off")
    return ax


def draw_wise(curve: pd.DataFrame, ax: Axes) -> Axes:
    """Acc_Y/Y of WiSE over alpha without a shift, with stand-ins and with gamma* (*oracle*): means over seeds.

    curve : columns seed, alpha, treatment, acc_yy, of one learning rate.
    """
    looks = {
        "none": ("no shift", SEEN, "-", "o"),
        "stand_in": ("stand-ins", ABSENT, "--", "s"),
        "gamma* (oracle)": ("$\\gamma^*$ (oracle)", "black", ":", "*"),
    }
    for treatment, (label, colour, dash, marker) in looks.items():
        rows = curve[curve["treatment"] == treatment]
        means = 100 * rows.groupby("alpha")["acc_yy"].mean()
        ax.plot(means.index, means, color=colour, linestyle=dash, marker=marker, label=label)
        for _, seed in rows.groupby("seed"):
            ax.plot(seed["alpha"], 100 * seed["acc_yy"], color=colour, linestyle=dash, linewidth=0.6, alpha=0.5)
    handles, _ = ax.get_legend_handles_labels()
    thin = Line2D([], [], color=BOTH, linewidth=0.6, label=f"each of {curve['seed'].nunique()} seeds")
    ax.legend(handles=[*handles, thin], fontsize=8)
    ax.set(xlabel="alpha (0: pre-trained, 1: fine-tuned)", ylabel="all: Acc$_{Y/Y}$ (%)")
    return ax
