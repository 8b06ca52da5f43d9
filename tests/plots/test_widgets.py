import pytest
import torch
from matplotlib import pyplot as plt

from analysis_lib import ClassSplit, seen_absent_curve
from analysis_lib.analysis.gamma.curve import shift_logits
from analysis_lib.analysis.metrics.confusion import group_confusion
from analysis_lib.plots import widgets


@pytest.fixture
def problem(random):
    split = ClassSplit(6, [0, 1, 4])
    return torch.randn(80, 6, generator=random), torch.randint(6, (80,), generator=random), split


def texts(figure):
    return [text.get_text() for text in figure.axes[2].texts]


def test_group_confusion_is_counted(problem):
    logits, labels, split = problem
    table = group_confusion(logits, labels, split)
    for row, group in enumerate((split.seen, split.absent)):
        mine = [i for i, y in enumerate(labels.tolist()) if y in group]
        to_seen = sum(int(logits[i].argmax()) in split.seen for i in mine) / len(mine)
        assert table[row].tolist() == pytest.approx([to_seen, 1 - to_seen])


def test_the_figure_shows_the_state_at_gamma(problem):
    logits, labels, split = problem
    figure = widgets.gamma_figure(logits, labels, split, 0.7)
    point = seen_absent_curve(logits, labels, split).at(0.7)
    assert [bar.get_height() for bar in figure.axes[1].patches] == pytest.approx(
        [100 * point.acc_sy, 100 * point.acc_uy, 100 * point.acc_yy]
    )
    confusion = group_confusion(shift_logits(logits, split, 0.7), labels, split)
    assert texts(figure) == [f"{100 * value:.1f} %" for value in confusion.flatten()]
    plt.close(figure)


def test_the_slider_redraws_and_starts_with_a_still_figure(problem, monkeypatch):
    shown = []

    class Handle:
        def update(self, figure):
            shown.append(texts(figure))

    def display(figure, display_id):
        shown.append(texts(figure))
        return Handle()

    monkeypatch.setattr(widgets, "display", display)
    slider = widgets.gamma_slider(*problem, gamma=0.02)
    low, high = seen_absent_curve(*problem).gamma[[0, -1]].tolist()
    assert low - slider.step < slider.min <= low and high <= slider.max < high + slider.step
    steps = (slider.value - slider.min) / slider.step
    assert slider.value == 0.02 and steps == pytest.approx(round(steps), abs=1e-9)
    slider.value = slider.max
    assert len(shown) == 2 and shown[0] != shown[1] and shown[1] == ["0.0 %", "100.0 %", "0.0 %", "100.0 %"]
    assert not plt.get_fignums()
