import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from analysis_lib.analysis.stats import summary
from analysis_lib.core import paths
from analysis_lib.plots import calibration, series, style
from analysis_lib.plots.images import draw_images
from analysis_lib.runs import run_set
from analysis_lib.studies import accuracy
from analysis_lib.studies import calibration as calibrations


@pytest.fixture
def axes():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_saved_figures_are_the_same_bytes_each_time(project):
    saved = []
    for _ in range(2):
        figure, ax = style.new_axes()
        ax.plot([1, 2], label="a")
        ax.legend()
        style.save_figure(figure, "digits", "f")
        plt.close(figure)
        saved.append([paths.figure("digits", "f", suffix).read_bytes() for suffix in ("png", "svg")])
    assert saved[0] == saved[1]
    assert str(project).encode() not in saved[0][1]


def test_lines_show_means_in_percent(digits, axes):
    table = accuracy.metrics_by_epoch(digits)
    assert series.draw_by_epoch(table, ["acc_sy", "acc_uy"], axes) is axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    rows = table[table["metric"] == "acc_uy"].groupby("epoch")["value"].mean()
    assert np.allclose(lines["absent: Acc$_{U/Y}$"].get_ydata(), 100 * rows)
    assert "2 seeds" in axes.get_xlabel() and "(%)" in axes.get_ylabel()


def test_curves_hold_every_state_and_the_marks_lie_on_them(digits, axes):
    curves, points = (
        calibrations.curves(digits),
        calibrations.calibrations(digits).query("method in ['none', 'alg', 'gamma* (oracle)']"),
    )
    assert calibration.draw_curves(curves, points, axes) is axes
    drawn = sum(len(line.get_xdata()) for line in axes.get_lines())
    assert drawn == len(curves)
    marks = {(round(x, 9), round(y, 9)) for c in axes.collections for x, y in c.get_offsets().tolist()}
    states = {(round(100 * x, 9), round(100 * y, 9)) for x, y in curves[["acc_sy", "acc_uy"]].to_numpy().tolist()}
    assert marks <= states and len(axes.collections) == len(points[["checkpoint", "method"]].drop_duplicates())


def test_changes_show_their_intervals(digits, axes):
    ends = accuracy.checkpoints_only(digits, accuracy.metrics_by_epoch(digits))
    changes = summary.change(ends, run_set.PRE_TRAINED, run_set.FINE_TUNED, "checkpoint", ["metric"])
    assert series.draw_changes(changes, ["acc_sy", "acc_uy"], axes) is axes
    row = changes.set_index("metric").loc["acc_uy"]
    segment = axes.collections[1].get_segments()[0]
    assert segment[:, 0].tolist() == pytest.approx([100 * row["low"], 100 * row["high"]])


def test_the_contact_sheet_places_every_image(axes):
    images = torch.randint(256, (5, 3, 8, 8), dtype=torch.uint8)
    assert draw_images(images, list("abcde"), axes, columns=3) is axes
    sheet = axes.get_images()[0].get_array()
    assert np.array_equal(sheet[10:18, 8:16], images[4].permute(1, 2, 0).numpy())
    assert [text.get_text() for text in axes.texts] == list("abcde")


def test_gamma_plot_and_confusions_show_the_table(digits, axes):
    curves = calibrations.curves(digits).query("seed == 0 and checkpoint == 'fine-tuned'")
    points = calibrations.calibrations(digits).query(
        "seed == 0 and checkpoint == 'fine-tuned' and method in ['none', 'pcv']"
    )
    assert calibration.draw_accuracy_by_gamma(curves, points, axes) is axes
    assert np.allclose(axes.get_lines()[0].get_ydata(), 100 * curves["acc_sy"])
    figure, other = plt.subplots()
    stolen = accuracy.seen_confusions(digits)
    calibration.draw_seen_confusions(stolen, other)
    assert sum(bar.get_width() for bar in other.patches) == stolen["taken"].sum()
    plt.close(figure)


def test_checkpoints_show_the_means_and_every_seed(digits, axes):
    ends = accuracy.metrics_by_checkpoint(digits)
    series.draw_by_checkpoint(ends, ["acc_uy"], axes)
    means, *seeds = axes.get_lines()
    wide = 100 * ends[ends["metric"] == "acc_uy"].pivot(index="checkpoint", columns="seed", values="value")
    order = ["pre-trained", "BatchNorm only", "fine-tuned"]
    assert list(means.get_xdata()) == order and means.get_ydata() == pytest.approx(wide.mean(axis=1)[order])
    assert [line.get_ydata() == pytest.approx(wide[seed][order]) for line, seed in zip(seeds, wide)] == [True, True]
