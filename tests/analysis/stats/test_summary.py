import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis_lib.analysis.stats import summary


@pytest.fixture
def frame():
    random = np.random.default_rng(0)
    return pd.DataFrame([{"seed": seed, "state": state, "metric": metric, "value": random.random()} for seed in range(4) for state in "ab" for metric in "xy"])


def test_change_is_the_paired_student_interval_of_scipy(frame):
    row = summary.change(frame, "a", "b", "state", ["metric"]).set_index("metric").loc["x"]
    values = frame[frame["metric"] == "x"].pivot(index="seed", columns="state", values="value")
    expected = stats.ttest_rel(values["b"], values["a"]).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert row["mean"] == pytest.approx((values["b"] - values["a"]).mean())
    assert row["n"] == 4


def test_a_single_seed_has_no_spread_and_decides_nothing(frame):
    changes = summary.change(frame[frame["seed"] == 0], "a", "b", "state", ["metric"])
    assert changes[["std", "low", "high"]].isna().all(axis=None)
    assert all(": undecided," in line for line in summary.verdicts(changes, ["metric"]).splitlines())
    assert summary.percent(summary.over_seeds(frame[frame["seed"] == 0], ["metric", "state"])).str.endswith("(n=1)").all()


def test_verdicts_follow_the_interval():
    rows = pd.DataFrame({"metric": ["a", "b", "c"], "mean": [0.2, -0.2, 0.1], "low": [0.1, -0.3, -0.1], "high": [0.3, -0.1, 0.3], "n": 3})
    words = [line.split(",")[0] for line in summary.verdicts(rows, ["metric"]).splitlines()]
    assert words == ["a: rises", "b: falls", "c: undecided"]


def test_every_shown_mean_carries_its_n(frame):
    shown = summary.grid(summary.over_seeds(frame, ["metric", "state"]), ["metric"], "state")
    assert shown.map(lambda text: text.endswith("(n=4)")).all(axis=None)
