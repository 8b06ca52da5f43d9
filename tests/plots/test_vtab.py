from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis_lib.plots import draw_vtab

GROUPS = ("natural", "specialized", "structured", "mean of the groups", "mean of the tasks")
NOTHING = pd.DataFrame({"method": [], "group": [], "accuracy": []})


@pytest.fixture
def published():
    """Four methods; the accuracy of method m in group g is 0.5 + 0.1 m + 0.01 g."""
    rows = [
        (f"m{m}", f"Method {m}", group, 0.5 + 0.1 * m + 0.01 * g) for m in range(4) for g, group in enumerate(GROUPS)
    ]
    return pd.DataFrame(rows, columns=["method", "title", "group", "accuracy"])


def marks(ax):
    """The marks that the legend names."""
    return {line.get_label(): line for line in ax.lines}


def test_ours_are_filled_and_stand_above_the_hollow_published_ones(axes, published):
    ours = published[published["method"] == "m2"].drop(columns="title").assign(accuracy=0.9)
    assert draw_vtab(ours, published, axes) is axes
    found = marks(axes)
    assert len(found) == 8 and "mean of the tasks" not in " ".join(found)
    for group in GROUPS[:4]:
        here, there = found[f"{group}, here"], found[f"{group}, published"]
        assert here.get_xdata().tolist() == [90] and here.get_marker() == there.get_marker()
        assert there.get_markerfacecolor() == "none" != here.get_markerfacecolor()
        assert here.get_ydata()[0] > there.get_ydata()[2] > there.get_ydata()[3]
    assert np.allclose(found["structured, published"].get_xdata(), [52, 62, 72, 82])
    assert len({line.get_marker() for line in found.values()}) == 4, "grey print tells the groups apart"
    labels = dict(zip(axes.get_yticks(), [text.get_text() for text in axes.get_yticklabels()]))
    assert labels[round(found["natural, here"].get_ydata()[0])] == "Method 2"


def test_what_does_not_exist_is_not_drawn(axes, published):
    draw_vtab(NOTHING, published, axes)
    assert len(marks(axes)) == 4 and all(label.endswith("published") for label in marks(axes))


def test_a_method_that_nobody_published_has_a_line_of_its_own(axes, published):
    ours = pd.DataFrame({"method": ["new"], "group": ["natural"], "accuracy": [0.7]})
    draw_vtab(ours, published, axes)
    assert [text.get_text() for text in axes.get_yticklabels()] == [f"Method {m}" for m in range(4)] + ["new"]
    assert set(marks(axes)) - {f"{group}, published" for group in GROUPS} == {"natural, here"}


def test_the_published_means_are_those_of_their_groups():
    """Within the rounding to hundredths of a percent, of both."""
    path = Path(__file__).resolve().parents[2] / "docs" / "reference" / "vtab_1k_published.csv"
    found = pd.read_csv(path)
    assert found["source"].nunique() == 1 and "2409.16434" in found["source"][0]
    wide = found.pivot(index="method", columns="group", values="accuracy")
    assert wide.shape == (16, 5) and wide.to_numpy().min() > 0.3 and wide.to_numpy().max() < 0.9
    groups = wide[["natural", "specialized", "structured"]]
    assert (groups.mean(axis=1) - wide["mean of the groups"]).abs().max() <= 1e-4
    assert (groups @ [7 / 19, 4 / 19, 8 / 19] - wide["mean of the tasks"]).abs().max() <= 1e-4
    assert wide.loc["lora"].round(4).to_dict() == {
        "natural": 0.8045,
        "specialized": 0.8501,
        "structured": 0.6027,
        "mean of the groups": 0.7524,
        "mean of the tasks": 0.7291,
    }
