import numpy as np
import pandas as pd
import pytest

from analysis_lib.plots import draw_forgetting, draw_sequence


@pytest.mark.parametrize("distance", ["feature", "parameter"])
def test_each_method_is_a_named_mark_with_its_interval(axes, distance):
    table = pd.DataFrame(
        {
            "method": ["finetune", "ldifs", "linear_probe"],
            "options": ["", "weight=10.0", ""],
            "distance": distance,
            "value": [0.4, 0.1, 0.0],
            "mean": [-0.2, -0.05, 0.0],
            "low": [-0.3, -0.1, 0.0],
            "high": [-0.1, 0.02, 0.0],
            "n_seeds": 3,
            "n": 600,
        }
    )
    assert draw_forgetting(table, {"finetune": "plain fine-tuning"}, axes) is axes
    marks = [(bars[0].get_xdata()[0], bars[0].get_ydata()[0]) for bars in axes.containers]
    assert np.allclose(marks, [(0.4, -20), (0.1, -5), (0, 0)])
    spans = [bars[2][0].get_segments()[0][:, 1] for bars in axes.containers]
    assert np.allclose(spans, [(-30, -10), (-10, 2), (0, 0)])
    numbers = {text.get_text(): text.get_position() for text in axes.texts}
    assert {number: x for number, (x, _) in numbers.items()} == {"1": 0.4, "2": 0.1, "3": 0}
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert named == ["plain fine-tuning", "ldifs (weight=10.0)", "linear_probe"]
    assert "600 images, 3 seeds" in axes.get_xlabel()


def test_the_sequence_shows_the_means_of_one_task_and_where_it_is_learnt(axes):
    rows = [
        (seed, method, after, task, learnt, 0.1 * after + 0.2 * learnt + 0.01 * seed + 0.02 * place, 100)
        for seed in (0, 1)
        for place, method in enumerate(("finetune", "ldifs"))
        for after in range(4)
        for learnt, task in enumerate(("x", "y", "z"), 1)
    ]
    table = pd.DataFrame(rows, columns=["seed", "method", "after", "task", "learnt", "accuracy", "n"])
    assert draw_sequence(table, "y", {"y": "why not"}, axes) is axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert np.allclose(lines["finetune"].get_ydata(), [40.5, 50.5, 60.5, 70.5])
    assert np.allclose(lines["ldifs"].get_ydata(), [42.5, 52.5, 62.5, 72.5])
    looks = {(lines[m].get_linestyle(), lines[m].get_marker(), lines[m].get_color()) for m in ("finetune", "ldifs")}
    assert len(looks) == 2 and all(len({look[i] for look in looks}) == 2 for i in range(3)), "grey print reads too"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["start", "x", "why\nnot", "z"]
    assert any(line.get_xdata()[0] == line.get_xdata()[-1] == 2 for line in axes.get_lines())
