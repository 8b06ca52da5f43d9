"""VTAB-1k: the group means of each method, measured here beside the published ones."""

import pandas as pd
from matplotlib.axes import Axes

from .style import ABSENT, BOTH, SEEN

LOOKS = {  # group: colour, marker, size
    "natural": (SEEN, "o", 6),
    "specialized": (BOTH, "s", 6),
    "structured": (ABSENT, "^", 7),
    "mean of the groups": ("black", "D", 5),
}
ASIDE = 0.17  # ours stands above the published ones


def draw_vtab(ours: pd.DataFrame, published: pd.DataFrame, ax: Axes) -> Axes:
    """Accuracy in percent, a line for each method: filled marks measured here, hollow ones published.

    ours : columns method, group, accuracy; may be empty, and a mean that it lacks is not drawn. published : the same
    and title, the method's name. Methods are in the order of the published table, then of ours.
    """
    titles = dict(zip(published["method"], published["title"]))
    methods = list(dict.fromkeys([*titles, *ours["method"]]))
    places = {name: len(methods) - number for number, name in enumerate(methods)}
    for group, (colour, marker, size) in LOOKS.items():
        for table, offset, inside, where in ((ours, ASIDE, colour, "here"), (published, -ASIDE, "none", "published")):
            own = table[table["group"] == group]
            if len(own):
                ax.plot(
                    100 * own["accuracy"],
                    own["method"].map(places) + offset,
                    linestyle="",
                    marker=marker,
                    markersize=size,
                    color=colour,
                    markerfacecolor=inside,
                    label=f"{group}, {where}",
                )
    ax.set_yticks(list(places.values()), [titles.get(name, name) for name in places])
    ax.set(xlabel="test accuracy (%), mean over the tasks of the group", ylim=(0.4, len(methods) + 0.6))
    ax.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, columnspacing=1)
    return ax
