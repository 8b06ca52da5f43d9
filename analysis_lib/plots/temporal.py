"""Accuracies, gamma and regret by period of the test images."""

import pandas as pd
from matplotlib.axes import Axes

from ..analysis.gamma.estimators import ESTIMATORS, NONE
from ..analysis.metrics import METRICS
from ..runs.run_set import FINE_TUNED, PRE_TRAINED
from ..studies.temporal_shift import PAST
from .series import COLOURS
from .style import ABSENT, BOTH, SEEN


def draw_accuracy_by_period(numbers: pd.DataFrame, shift: str, ax: Axes) -> Axes:
    """Accuracy of seen and of absent classes by period: before fine-tuning, after it, and after it with a shift.

    numbers : from `temporal_shift.by_period`; shift : one of its methods. A line joins means, a small mark is a seed.
    """
    names = list(numbers["period"].unique())
    looks = (
        (PRE_TRAINED, NONE, ":", "none", "before fine-tuning"),
        (FINE_TUNED, NONE, "--", "bottom", "fine-tuned"),
        (FINE_TUNED, shift, "-", "full", f"fine-tuned, {_title(shift)}"),
    )
    for metric in ("acc_sy", "acc_uy"):
        known = METRICS[metric]
        for number, (checkpoint, method, dash, fill, label) in enumerate(looks):
            rows = numbers.query("checkpoint == @checkpoint and method == @method and metric == @metric")
            look = {"color": COLOURS[known.colour_of], "marker": known.marker, "linestyle": dash, "fillstyle": fill}
            beside = 0.06 * (number - 1)
            _draw(rows.assign(value=100 * rows["value"]), names, ax, beside, f"{known.title}, {label}", look)
    _finish(numbers, names, ax)
    ax.set(ylabel="test accuracy (%)", ylim=(-3, 103))
    return ax


def draw_by_period(numbers: pd.DataFrame, metric: str, ax: Axes, ylabel: str, scale: float = 1.0) -> Axes:
    """One metric of every gamma of the fine-tuned network by period, such as gamma itself or its regret.

    numbers : as in `draw_accuracy_by_period`. Orange estimates are made once, blue ones again in each period, black
    ones use labels (*oracle*). Methods stand beside each other in a period.
    """
    rows = numbers[(numbers["checkpoint"] == FINE_TUNED) & (numbers["metric"] == metric)]
    names, methods = list(numbers["period"].unique()), list(rows["method"].unique())
    dashes: dict[str, int] = {}
    for number, method in enumerate(methods):
        colour = _colour(method)
        dash = ("-", "--", "-.", ":")[dashes.get(colour, 0) % 4]
        dashes[colour] = dashes.get(colour, 0) + 1
        beside = 0.3 * (number / max(len(methods) - 1, 1) - 0.5)
        own = rows[rows["method"] == method]
        marker = ESTIMATORS[method].marker if method in ESTIMATORS else "X"
        look = {"color": colour, "marker": marker, "linestyle": dash}
        _draw(own.assign(value=scale * own["value"]), names, ax, beside, _title(method), look)
    _finish(numbers, names, ax)
    ax.set(ylabel=ylabel)
    return ax


def _draw(rows: pd.DataFrame, names: list[str], ax: Axes, beside: float, label: str, look: dict) -> None:
    """The means over seeds as a line, and each seed as a small mark."""
    means = rows.groupby("period", sort=False)["value"].mean()
    ax.plot([names.index(period) + beside for period in means.index], means, label=label, **look)
    places = [names.index(period) + beside for period in rows["period"]]
    ax.plot(places, rows["value"], **look | {"linestyle": "none"}, markersize=3, alpha=0.5)


def _finish(numbers: pd.DataFrame, names: list[str], ax: Axes) -> None:
    seeds = numbers["seed"].nunique()
    ax.set_xticks(range(len(names)), names)
    ax.set(
        xlabel=f"period of the test images\nmeans of {seeds} seed{'s' * (seeds > 1)}, and each seed",
        xlim=(-0.4, len(names) - 0.6),
    )
    ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=2, handlelength=3.5)


def _title(method: str) -> str:
    if method == PAST:
        return "$\\gamma^*$ of the first period (oracle)"
    return ESTIMATORS[method].title.replace("\n", " ")


def _colour(method: str) -> str:
    known = ESTIMATORS.get(method)
    if known is None or known.oracle:
        return "black"
    if known.transductive:
        return ABSENT
    return BOTH if method == NONE else SEEN
