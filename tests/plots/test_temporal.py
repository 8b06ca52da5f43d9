import numpy as np
import pandas as pd
import pytest

from analysis_lib.analysis.gamma.estimators import MATCHED, ORACLE
from analysis_lib.plots import draw_accuracy_by_period, draw_by_period
from analysis_lib.studies.temporal_shift import PAST

METHODS = ("none", "stand_in", MATCHED, ORACLE, PAST)


@pytest.fixture
def numbers():
    """Two seeds and two periods; the accuracy of seed s in period p with method m is 0.1 m + 0.01 p + 0.001 s."""
    rows = []
    for seed in (0, 1):
        for place, period in enumerate(("2017", "2019")):
            rows += [(seed, period, "pre-trained", "none", metric, 0.9) for metric in ("acc_sy", "acc_uy")]
            for number, method in enumerate(METHODS):
                value = 0.1 * number + 0.01 * place + 0.001 * seed
                metrics = ("acc_sy", "acc_uy", "gamma")
                rows += [(seed, period, "fine-tuned", method, metric, value) for metric in metrics]
    return pd.DataFrame(rows, columns=["seed", "period", "checkpoint", "method", "metric", "value"])


def lines(ax):
    """The lines that the legend names."""
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def test_accuracies_are_means_over_seeds_in_percent(axes, numbers):
    draw_accuracy_by_period(numbers, "stand_in", axes)
    found = lines(axes)
    assert len(found) == 6 and len(axes.lines) == 12, "a line of means and the seeds' marks for each"
    shifted = [line for label, line in found.items() if "absent" in label and "stand-ins" in label]
    assert np.allclose(shifted[0].get_ydata(), [10.05, 11.05])
    dashes = {line.get_linestyle() for line in found.values()}
    assert len(dashes) == 3, "grey print tells the three networks apart"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2017", "2019"]


def test_each_gamma_is_a_line_that_grey_print_tells_apart(axes, numbers):
    draw_by_period(numbers, "gamma", axes, "gamma", 10)
    found = lines(axes)
    assert len(found) == len(METHODS) and len({line.get_marker() for line in found.values()}) == len(METHODS)
    assert np.allclose(found["stand-ins"].get_ydata(), [1.005, 1.105])
    places = [line.get_xdata()[0] for line in found.values()]
    assert np.allclose(np.diff(places), 0.3 / 4), "beside each other"
    assert "2 seeds" in axes.get_xlabel()


def test_one_period_and_one_seed_can_be_drawn(axes, numbers):
    draw_by_period(numbers.query("period == '2017' and seed == 0"), "gamma", axes, "gamma")
    assert "1 seed," in axes.get_xlabel()
