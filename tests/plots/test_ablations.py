import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis_lib.plots import draw_by_length, draw_cells, draw_ends, draw_map, draw_maps


def named(ax):
    """The lines that the legend names."""
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def test_a_map_writes_every_mean_at_its_place(axes):
    means = pd.DataFrame({"lr": [0.1, 0.1, 0.01], "weight_decay": [0.0, 0.5, 0.0], "mean": [0.25, 0.5, 0.75]})
    draw_map(means, "weight_decay", "lr", axes, (0, 1))
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): "75", (1, 0): "25", (1, 1): "50"}  # the pair (0.01, 0.5) was not run
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.01", "0.1"]


def test_lines_by_length_are_means_of_the_longest_runs(axes):
    rows = [
        ("c", lr, epochs, seed, epoch, "acc_uy", lr + 0.1 * seed + epoch / 100)
        for lr in (0.2, 0.4)
        for epochs in (2, 4)
        for seed in (0, 1)
        for epoch in range(epochs + 1)
    ]
    table = pd.DataFrame(rows, columns=["cell", "lr", "epochs", "seed", "epoch", "metric", "value"])
    draw_by_length(table, "acc_uy", axes, "y")
    line = named(axes)["lr 0.2"]
    assert line.get_xdata().tolist() == [0, 1, 2, 3, 4]
    assert line.get_ydata() == pytest.approx(100 * (0.2 + 0.05 + np.arange(5) / 100))


@pytest.mark.parametrize("known", [True, False])
def test_ends_have_their_intervals_where_there_are_any(axes, known):
    ends = {"low": [0.2, 0.1], "high": [0.4, 0.4]} if known else {"low": [np.nan] * 2, "high": [np.nan] * 2}
    means = pd.DataFrame({"lr": 0.1, "epochs": [10, 5], "metric": "acc_uy", "mean": [0.3, 0.2], "n_seeds": 3} | ends)
    draw_ends(means, "acc_uy", axes, "y")
    (bars,) = axes.containers
    assert bars[0].get_xdata().tolist() == [5, 10] and bars[0].get_ydata() == pytest.approx([20, 30])
    if known:
        assert bars[2][0].get_segments()[0][:, 1] == pytest.approx([10, 40])


def test_cells_stand_one_below_another_with_four_numbers_each(axes):
    rows = []
    for cell, shift in (("a=1", 0.0), ("a=2", 0.1)):
        for number, (treatment, metric) in enumerate(
            (("none", "acc_uy"), ("gamma* (oracle)", "acc_uy"), ("ncm (oracle)", "acc_uy"), ("none", "ausuc"))
        ):
            mean = 0.2 * number + shift
            rows.append(("s", cell, treatment, metric, mean, mean - 0.05, mean + 0.05, 3))
    means = pd.DataFrame(rows, columns=["study", "cell", "treatment", "metric", "mean", "low", "high", "n_seeds"])
    draw_cells(means, axes)
    assert named(axes)["AUSUC"].get_xdata() == pytest.approx([60, 70])
    assert named(axes)["Acc$_{U/Y}$"].get_xdata() == pytest.approx([0, 10])
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["s\na=1", "s\na=2"]
    assert named(axes)["AUSUC"].get_ydata()[0] > named(axes)["AUSUC"].get_ydata()[1]  # the first cell is at the top


def test_without_cells_the_axes_say_so(axes):
    draw_cells(pd.DataFrame(columns=["study", "cell"]), axes)
    assert [text.get_text() for text in axes.texts] == ["no cell in this profile"]


def test_maps_share_one_scale():
    figure, axes = plt.subplots(1, 2)
    means = pd.DataFrame({"o": ["a", "b"], "lr": 0.1, "weight_decay": 0.0, "mean": [0.25, 0.5]})
    draw_maps(means, "o", "weight_decay", "lr", axes)
    assert [ax.get_title() for ax in axes] == ["a", "b"]
    assert [ax.images[0].get_clim() for ax in axes] == [(0, 0.5)] * 2
    plt.close(figure)
