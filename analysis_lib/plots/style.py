"""Figures: each draw_x takes tidy data and axes and returns the axes; save_figure writes the same bytes each time.

Fractions become percent here. Colours differ in lightness and lines in dash and marker, so grey print reads too.
"""

import contextlib
import warnings

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ..core import files, paths

STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "analysis_lib",
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}
mpl.rcParams.update(STYLE)
SEEN, ABSENT, BOTH = "#D55E00", "#0B3C7D", "#7A7A7A"


def new_axes(columns: int = 1, width: float = 5.2, height: float = 3.7):
    """A figure with axes side by side: (figure, axes) or (figure, array of axes)."""
    return plt.subplots(1, columns, figsize=(width * columns, height))


@contextlib.contextmanager
def any_letters():
    """Draw class names in any script: an SVG stores them as text; a PNG has boxes for letters of no font at hand."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def save_figure(figure: Figure, benchmark: str, name: str) -> None:
    """Write figures/<benchmark>/<name>.png and .svg, without dates or versions."""
    for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        with files.replacing(paths.figure(benchmark, name, suffix)) as temporary, any_letters():
            figure.savefig(temporary, format=suffix, metadata=metadata)
