"""Figures: each draw_x takes tidy data and axes and returns the axes; save_figure writes the same bytes each time.

Fractions become percent here. Colours differ in lightness and lines in dash and marker, so grey print reads too.
"""

from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import paths, store
from .analysis.calibration import SeenAbsentCurve

STYLE = {
    "figure.dpi": 110, "savefig.dpi": 160, "figure.constrained_layout.use": True, "svg.hashsalt": "analysis_lib", "svg.fonttype": "none",
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25, "legend.frameon": False,
}
mpl.rcParams.update(STYLE)

SEEN, ABSENT, BOTH = "#D55E00", "#0B3C7D", "#7A7A7A"
SERIES = {  # metric: label, colour, dash, marker
    "acc_sy": ("seen: Acc$_{S/Y}$", SEEN, "-", "o"),
    "acc_uy": ("absent: Acc$_{U/Y}$", ABSENT, "-", "s"),
    "acc_yy": ("all: Acc$_{Y/Y}$", BOTH, "-", "D"),
    "acc_ss": ("seen among seen: Acc$_{S/S}$", SEEN, "--", "^"),
    "acc_uu": ("absent among absent: Acc$_{U/U}$", ABSENT, "--", "v"),
    "ncm_acc_sy": ("seen, NCM: Acc$_{S/Y}$", SEEN, ":", "P"),
    "ncm_acc_uy": ("absent, NCM: Acc$_{U/Y}$", ABSENT, ":", "X"),
    "p_absent_s": ("seen samples", SEEN, "-", "o"),
    "p_absent_u": ("absent samples", ABSENT, "-", "s"),
    "weight_norm_s": ("seen classes", SEEN, "-", "o"),
    "weight_norm_u": ("absent classes", ABSENT, "-", "s"),
    "bias_s": ("seen classes", SEEN, "-", "o"),
    "bias_u": ("absent classes", ABSENT, "-", "s"),
    "feature_norm_s": ("samples of seen classes", SEEN, "-", "o"),
    "feature_norm_u": ("samples of absent classes", ABSENT, "-", "s"),
    "gap": ("the gap", "black", "-", "D"),
    "angle_part": ("from angles", ABSENT, "--", "s"),
    "norm_part": ("from norms", SEEN, "--", "o"),
    "bias_part": ("from biases", BOTH, ":", "^"),
    "logit_true": ("true absent class", ABSENT, "-", "s"),
    "logit_other_absent": ("best other absent class", ABSENT, "--", "v"),
    "logit_seen": ("best seen class", SEEN, "-", "o"),
    "motion_s_test": ("seen classes, test", SEEN, "-", "o"),
    "motion_u_test": ("absent classes, test", ABSENT, "-", "s"),
    "motion_s_train": ("seen classes, training images", SEEN, ":", "^"),
    "motion_u_train": ("absent classes, training images", ABSENT, ":", "v"),
    "test_s_class": ("seen: to own class", SEEN, "-", "o"),
    "test_u_class": ("absent: to own class", ABSENT, "-", "s"),
    "test_s_other_group": ("seen: to the other group", SEEN, "--", "^"),
    "test_u_other_group": ("absent: to the other group", ABSENT, "--", "v"),
}
METHODS = {  # method: label, marker
    "none": ("no shift", "o"),
    "alg": ("ALG", "^"),
    "alg_change": ("ALG, change", ">"),
    "max_gap": ("largest-logit gap", "D"),
    "max_gap_change": ("largest-logit gap, change", "d"),
    "stand_in": ("stand-ins", "s"),
    "stand_in_sure": ("stand-ins, sure", "p"),
    "pcv": ("PCV", "v"),
    "pcv_balanced": ("PCV, balanced", "<"),
    "pcv_stand_in": ("PCV with stand-ins", "P"),
    "matched_share (transductive)": ("matched share (transductive)", "h"),
    "matched_stand_in (transductive)": ("matched share with\nstand-ins (transductive)", "|"),
    "wise": ("WiSE, halfway", "X"),
    "logit_adjustment": ("logit adjustment", "1"),
    "group_temperature": ("group temperature", "2"),
    "weight_alignment": ("weight norms aligned", "3"),
    "group_posterior": ("group posterior", "4"),
    "ncm": ("NCM (oracle)", "*"),
    "gamma* (oracle)": ("$\\gamma^*$ (oracle)", "*"),
}


def new_axes(columns: int = 1, width: float = 5.2, height: float = 3.7):
    """A figure with axes side by side: (figure, axes) or (figure, array of axes)."""
    return plt.subplots(1, columns, figsize=(width * columns, height))


def save_figure(figure: Figure, benchmark: str, name: str) -> None:
    """Write figures/<benchmark>/<name>.png and .svg, without dates or versions."""
    for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        with store.replacing(paths.figure(benchmark, name, suffix)) as temporary:
            figure.savefig(temporary, format=suffix, metadata=metadata)


def draw_images(images: torch.Tensor, titles: Sequence[str], ax: Axes, columns: int = 8) -> Axes:
    """A contact sheet of uint8 images (N, 3, H, W) with a short title under each."""
    n, _, height, width = images.shape
    lines = -(-n // columns)
    band = round(0.3 * height)
    sheet = np.full((lines * (height + band), columns * width, 3), 255, dtype=np.uint8)
    for i, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        top, left = i // columns * (height + band), i % columns * width
        sheet[top : top + height, left : left + width] = image
        ax.text(left + width / 2, top + height + band / 2, titles[i], ha="center", va="center", fontsize=7)
    ax.imshow(sheet)
    ax.set_axis_off()
    return ax


def draw_series(by_epoch: pd.DataFrame, metrics: Sequence[str], ax: Axes, ylabel: str) -> Axes:
    """Metrics over epochs in their own unit: mean over seeds with a band of one standard deviation. Epoch 0 is the pre-trained model."""
    for metric in metrics:
        label, colour, dash, marker = SERIES[metric]
        rows = by_epoch[by_epoch["metric"] == metric]
        sns.lineplot(x=rows["epoch"], y=rows["value"], errorbar="sd", ax=ax, label=label, color=colour, linestyle=dash, marker=marker)
    seeds = by_epoch["seed"].nunique()
    ax.set(xlabel=f"fine-tuning epoch (0: pre-trained)\nmean ± sd of {seeds} seed{'s' * (seeds > 1)}", ylabel=ylabel)
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    ax.legend(fontsize=8)
    return ax


def draw_by_epoch(by_epoch: pd.DataFrame, metrics: Sequence[str], ax: Axes, ylabel: str = "test accuracy (%)") -> Axes:
    """Fractions over epochs in percent, otherwise as `draw_series`."""
    draw_series(by_epoch.assign(value=100 * by_epoch["value"]), metrics, ax, ylabel)
    ax.set_ylim(-3, 103)
    return ax


def draw_changes(changes: pd.DataFrame, metrics: Sequence[str], ax: Axes) -> Axes:
    """Changes from pre-trained to fine-tuned with 95 % intervals over seeds; `changes` is from `tables.change`."""
    rows = changes.set_index("metric").loc[list(metrics)]
    places = np.arange(len(rows))[::-1]
    ax.axvline(0, color="black", linewidth=0.8)
    for place, (metric, row) in zip(places, rows.iterrows()):
        _, colour, _, marker = SERIES[metric]
        half = 0 if np.isnan(row["low"]) else 100 * (row["high"] - row["mean"])
        ax.errorbar(100 * row["mean"], place, xerr=half, color=colour, marker=marker, capsize=3, linestyle="none")
    ax.set_yticks(places, [SERIES[metric][0] for metric in metrics])
    ax.set(xlabel=f"change by fine-tuning (percentage points), n={rows['n'].iloc[0]:.0f}", ylim=(-0.6, len(rows) - 0.4))
    return ax


def draw_curves(curves: pd.DataFrame, points: pd.DataFrame, ax: Axes) -> Axes:
    """Seen-absent curves, one thin line per seed, and where each way to choose gamma lands on it."""
    looks = {"pre-trained": (BOTH, "--"), "fine-tuned": (ABSENT, "-")}
    for (checkpoint, _), rows in curves.groupby(["checkpoint", "seed"], sort=False):
        colour, dash = looks[checkpoint]
        ax.plot(100 * rows["acc_sy"], 100 * rows["acc_uy"], color=colour, linestyle=dash, linewidth=1)
    for (checkpoint, method), rows in points.groupby(["checkpoint", "method"], sort=False):
        ax.scatter(100 * rows["acc_sy"], 100 * rows["acc_uy"], marker=METHODS[method][1], color=looks[checkpoint][0], edgecolor="white",
                   s=110 if "oracle" in method else 48, zorder=3)
    lines = [mpl.lines.Line2D([], [], color=colour, linestyle=dash, label=name) for name, (colour, dash) in looks.items()]
    marks = [mpl.lines.Line2D([], [], color="black", marker=marker, linestyle="none", label=label)
             for name, (label, marker) in METHODS.items() if name in set(points["method"])]
    ax.legend(handles=lines + marks, fontsize=8)
    ax.set(xlabel="Acc$_{S/Y}$ (%)", ylabel="Acc$_{U/Y}$ (%)", xlim=(0, None), ylim=(0, None))
    return ax


def draw_accuracy_by_gamma(curves: pd.DataFrame, points: pd.DataFrame, ax: Axes) -> Axes:
    """Accuracies of one fine-tuned model as the shift grows, with the shifts of each method marked."""
    for metric in ("acc_sy", "acc_uy", "acc_yy"):
        label, colour, dash, _ = SERIES[metric]
        ax.plot(curves["gamma"], 100 * curves[metric], color=colour, linestyle={"acc_yy": "--"}.get(metric, dash), label=label)
    for _, point in points.iterrows():
        ax.axvline(point["gamma"], color="black", linewidth=0.8, linestyle=":")
        ax.plot(point["gamma"], 100 * point["acc_yy"], color="black", marker=METHODS[point["method"]][1], markersize=9 if "oracle" in point["method"] else 6)
    ax.legend(fontsize=8, loc="upper right")
    ax.set(xlabel="$\\gamma$ added to absent logits", ylabel="test accuracy (%)", ylim=(-3, 103))
    return ax


def draw_thieves(thieves: pd.DataFrame, ax: Axes, most: int = 12) -> Axes:
    """The seen classes that take most absent-class test samples of one seed, summed over absent classes."""
    taken = thieves.groupby("seen")["taken"].sum().sort_values(ascending=False, kind="stable").head(most)
    ax.barh(taken.index[::-1], taken.to_numpy()[::-1], color=SEEN)
    ax.set(xlabel=f"absent-class test samples taken, of {thieves['taken'].sum()} taken in all")
    ax.grid(axis="y", visible=False)
    return ax


def draw_intervals(table: pd.DataFrame, ax: Axes, xlabel: str) -> Axes:
    """One row per `label` with its mean and 95 % interval, fractions as points; columns label, mean, low, high, and n_samples, n_seeds for the axis."""
    places = np.arange(len(table))[::-1]
    mean, ends = 100 * table["mean"].to_numpy(float), 100 * table[["low", "high"]].to_numpy(float)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.hlines(places, ends[:, 0], ends[:, 1], color=ABSENT, linewidth=1.5)
    ax.plot(mean, places, color=ABSENT, marker="o", linestyle="none")
    ax.set_yticks(places, table["label"])
    ax.set(xlabel=f"{xlabel}\n95 % interval, {table['n_samples'].min()} samples, {table['n_seeds'].iloc[0]} seeds", ylim=(-0.6, len(table) - 0.4))
    return ax


def draw_shares(shares: pd.DataFrame, ax: Axes) -> Axes:
    """The share of the oracle's gain: one grey mark per cell and method, and the median over cells with its 95 % interval.

    Shares below -1 are drawn at -1, as arrows.
    """
    cells = [cell for cell in shares["cell"].unique() if cell not in ("median", "worst")]
    methods = [method for method in shares["method"].unique() if method not in ("none", "gamma* (oracle)")]
    places = {method: place for place, method in enumerate(reversed(methods))}
    for number, cell in enumerate(cells):
        rows = shares[(shares["cell"] == cell) & shares["method"].isin(methods)].dropna(subset="share")
        height = rows["method"].map(places) + 0.3 * (number / max(len(cells) - 1, 1) - 0.5)
        inside = rows["share"] >= -1
        ax.scatter(rows["share"][inside], height[inside], color=BOTH, s=14, marker="o")
        ax.scatter([-1] * (~inside).sum(), height[~inside], color=BOTH, s=26, marker="<")
    middle = shares[(shares["cell"] == "median") & shares["method"].isin(methods)]
    height = middle["method"].map(places)
    ax.hlines(height, middle["low"].clip(lower=-1), middle["high"], color=ABSENT, linewidth=1.5)
    ax.scatter(middle["share"].clip(lower=-1), height, color=ABSENT, marker="D", zorder=3)
    marks = [mpl.lines.Line2D([], [], color=colour, marker=marker, linestyle=dash, label=label) for label, colour, marker, dash in
             ((f"one of {len(cells)} cells", BOTH, "o", "none"), ("their median, 95 % interval", ABSENT, "D", "-"))]
    ax.legend(handles=marks, fontsize=8, loc="lower left")
    for line in (0, 1):
        ax.axvline(line, color="black", linewidth=0.8)
    ax.set_yticks(list(places.values()), [METHODS[method][0] for method in places])
    ax.set(xlabel="share of the oracle's gain in Acc$_{Y/Y}$ (0: no shift, 1: $\\gamma^*$)", xlim=(-1.05, 1.1))
    return ax


def draw_gamma(curve: SeenAbsentCurve, confusion: torch.Tensor, gamma: float, axes: Sequence[Axes]) -> None:
    """One shift on three axes: its place on the curve, its accuracies, and where the samples of each group go."""
    point = curve.at(gamma)
    axes[0].plot(100 * curve.acc_sy, 100 * curve.acc_uy, color=ABSENT, linewidth=1)
    axes[0].plot(100 * point.acc_sy, 100 * point.acc_uy, color="black", marker="o")
    axes[0].set(xlabel="Acc$_{S/Y}$ (%)", ylabel="Acc$_{U/Y}$ (%)", xlim=(0, None), ylim=(0, None), title=f"$\\gamma$ = {gamma:.2f}")
    keys = ("acc_sy", "acc_uy", "acc_yy")
    bars = axes[1].bar(["seen", "absent", "all"], [100 * getattr(point, key) for key in keys], color=[SERIES[key][1] for key in keys],
                       hatch=["//", "", ".."], edgecolor="white")
    axes[1].bar_label(bars, fmt="%.1f")
    axes[1].set(ylabel="test accuracy among all classes (%)", ylim=(0, 108))
    axes[2].imshow(confusion.numpy(), cmap="Greys", vmin=0, vmax=2.5)
    for row, column in np.ndindex(2, 2):
        axes[2].text(column, row, f"{100 * confusion[row, column]:.1f} %", ha="center", va="center")
    axes[2].set_xticks([0, 1], ["seen", "absent"])
    axes[2].set_yticks([0, 1], ["seen", "absent"], rotation=90, va="center")
    axes[2].set(xlabel="predicted group", ylabel="true group")
    axes[2].grid(visible=False)
