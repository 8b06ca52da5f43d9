"""Figures of shifts and confusions on made-up tables."""

import pandas as pd
from matplotlib.figure import Figure

from analysis_lib.plots import calibration


def test_long_class_names_stay_apart_and_leave_room_for_the_bars():
    names = [f"{'a long name of several words, ' * 9} $ number {c}" for c in range(12)]
    confusions = pd.DataFrame({"seen": names, "taken": range(1, 13)})
    figure = Figure(figsize=(6.4, 3.9), layout="constrained")
    axes = calibration.draw_seen_confusions(confusions, figure.subplots())
    figure.canvas.draw()
    assert [bar.get_width() for bar in axes.patches] == list(range(1, 13))
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(set(labels)) == 12 and all(str(c) in label for c, label in enumerate(labels))
    assert axes.get_position().width > 0.4
    right = axes.xaxis.label.get_window_extent().x1
    assert right <= figure.bbox.width
