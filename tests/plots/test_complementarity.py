import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis_lib.analysis.metrics.ensembles import ENSEMBLES
from analysis_lib.plots import draw_ensembles, draw_pairs


def pairs(n):
    names = [f"method {number}" for number in range(n)]
    rows = []
    for (i, a), (j, b) in itertools.combinations(enumerate(names), 2):
        rows += [(a, b, "agreement", 0.5 + 0.02 * i + 0.001 * j), (a, b, "agreement_null", 0.1 + 0.01 * i)]
    return pd.DataFrame(rows, columns=["a", "b", "metric", "mean"])


def test_each_half_of_the_matrix_holds_its_own_measure(axes):
    titles = {"method 0": "the first"}
    assert draw_pairs(pairs(4), "agreement", "agreement_null", titles, axes) is axes
    matrix = axes.images[0].get_array().filled(np.nan)
    assert np.isnan(matrix.diagonal()).all()
    assert matrix[3, 1] == pytest.approx(52.3) and matrix[1, 3] == pytest.approx(11)
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written[1, 3] == "52" and written[3, 1] == "11" and len(written) == 12
    assert [label.get_text() for label in axes.get_yticklabels()] == ["the first", "method 1", "method 2", "method 3"]
    assert axes.get_title() == "below: agreement\nabove: agreement by chance within classes"


def test_numbers_can_be_read_on_their_grey_and_names_do_not_overlap():
    figure, ax = plt.subplots(figsize=(8, 7))
    draw_pairs(pairs(20), "agreement", "agreement_null", {}, ax)
    figure.canvas.draw()
    image = ax.images[0]
    for text in ax.texts:
        column, row = text.get_position()
        grey = image.cmap(image.norm(image.get_array()[row, column]))[0]
        assert abs(grey - (text.get_color() == "white")) > 0.4
    for labels in (
        ax.get_xticklabels(),
        ax.get_yticklabels(),
        [text for text in ax.texts if text.get_position()[1] == 4],
    ):
        boxes = [label.get_window_extent() for label in labels]
        assert not any(one.overlaps(two) for one, two in itertools.combinations(boxes, 2))
    plt.close(figure)


def test_a_large_matrix_carries_no_numbers(axes):
    draw_pairs(pairs(21), "agreement", "agreement_null", {}, axes)
    assert not axes.texts


def levels():
    rows = []
    for (place, (name, ensemble)), treatment in itertools.product(enumerate(ENSEMBLES.items()), ("none", "stand_in")):
        for metric in ("acc_yy", "ausuc"):
            mean = 0.4 + 0.05 * place + 0.02 * (treatment == "stand_in")
            rows.append((name, ensemble.oracle, treatment, metric, mean, mean - 0.03, mean + 0.04, 600, 3))
    columns = ["ensemble", "oracle", "treatment", "metric", "mean", "low", "high", "n_samples", "n_seeds"]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.parametrize(("metric", "scale"), [("acc_yy", 100), ("ausuc", 1)])
def test_each_ensemble_is_a_mark_with_its_interval_and_oracles_are_hollow(axes, metric, scale):
    assert draw_ensembles(levels(), metric, axes) is axes
    marks = [line for line in axes.get_lines() if line.get_marker() not in ("None", None, "")]
    assert len(marks) == 2 * len(ENSEMBLES)
    for place, (mark, (_, ensemble)) in enumerate(zip(marks, ENSEMBLES.items())):
        assert mark.get_xdata()[0] == pytest.approx(scale * (0.4 + 0.05 * place))
        assert (mark.get_markerfacecolor() == "white") == ensemble.oracle
    spans = [collection.get_segments()[0][:, 0] for collection in axes.collections]
    assert np.allclose(spans[0], [scale * 0.37, scale * 0.44])
    best = list(ENSEMBLES).index("best_single")
    thin = [line.get_xdata()[0] for line in axes.get_lines() if line.get_linewidth() == 0.8]
    assert thin == pytest.approx([scale * (0.4 + 0.05 * best), scale * (0.42 + 0.05 * best)])
    assert [label.get_text() for label in axes.get_yticklabels()] == [each.title for each in ENSEMBLES.values()]
    assert "600 samples, 3 seeds" in axes.get_xlabel() and ("(%)" in axes.get_xlabel()) == (scale == 100)
    dashes = {line.get_linestyle() for line in axes.get_lines() if line.get_linewidth() == 0.8}
    assert len(dashes) == 2, "grey print reads too"


def test_a_metric_that_only_some_ensembles_have(axes):
    some = levels().query("metric == 'ausuc' and ensemble in ['mean_single', 'best_single', 'mean_logits']")
    draw_ensembles(some.assign(n_seeds=1), "ausuc", axes)
    assert len(axes.get_yticklabels()) == 3 and axes.get_xlabel().endswith("1 seed")
