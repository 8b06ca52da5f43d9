import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis_lib import plots

TITLES = {"finetune": "full fine-tuning", "lora": "LoRA", "linear_probe": "linear probe"}


@pytest.fixture
def means():
    rows = [
        (name, "none", metric, value + place / 100, 0.01, 3)
        for place, name in enumerate(["pre-trained", *TITLES])
        for metric, value in (("acc_uy", 0.2), ("ausuc", 0.3))
    ]
    return pd.DataFrame(rows, columns=["method", "treatment", "metric", "mean", "std", "n"])


def test_a_method_stands_at_its_weights_and_its_mean(means):
    ax = Figure().subplots()
    trained = pd.Series({"finetune": 1000, "lora": 10, "linear_probe": 1})
    plots.draw_over_parameters(means, trained, "acc_uy", "none", ax)
    drawn = {text.get_text(): text.get_position() for text in ax.texts}
    assert set(drawn) == {"1", "2", "3"}, "the pre-trained network trains nothing"
    assert drawn["1"] == pytest.approx((1000, 21)) and drawn["3"] == pytest.approx((1, 23))
    assert ax.get_xscale() == "log"


def test_the_regret_map_shows_points_and_leaves_out_what_was_not_made():
    rows = [("finetune", "none", 0.1, 3), ("finetune", "stand_in", 0.02, 3), ("lora", "none", 0.05, 3)]
    means = pd.DataFrame(rows, columns=["method", "estimator", "mean", "n"])
    ax = Figure().subplots()
    plots.draw_regret_map(means, TITLES, ax)
    assert {text.get_position(): text.get_text() for text in ax.texts} == {(0, 0): "10.0", (1, 0): "2.0", (0, 1): "5.0"}
    assert [label.get_text() for label in ax.get_yticklabels()] == ["full fine-tuning", "LoRA"]
    assert "3 seeds" in ax.get_title()
