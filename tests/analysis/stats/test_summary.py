import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis_lib.analysis.stats import summary


@pytest.fixture
def frame():
    random = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {"seed": seed, "state": state, "metric": metric, "value": random.random()}
            for seed in range(4)
            for state in "ab"
            for metric in "xy"
        ]
    )


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
    assert (
        summary.percent(summary.over_seeds(frame[frame["seed"] == 0], ["metric", "state"])).str.endswith("(n=1)").all()
    )


def test_verdicts_follow_the_interval():
    rows = pd.DataFrame(
        {
            "metric": ["a", "b", "c"],
            "mean": [0.2, -0.2, 0.1],
            "low": [0.1, -0.3, -0.1],
            "high": [0.3, -0.1, 0.3],
            "n": 3,
        }
    )
    words = [line.split(",")[0] for line in summary.verdicts(rows, ["metric"]).splitlines()]
    assert words == ["a: rises", "b: falls", "c: undecided"]


def test_every_shown_mean_carries_its_n(frame):
    shown = summary.grid(summary.over_seeds(frame, ["metric", "state"]), ["metric"], "state")
    assert shown.map(lambda text: text.endswith("(n=4)")).all(axis=None)


def test_texts_say_points_and_seeds():
    row = {"metric": "a", "group": "s", "mean": 0.2, "std": 0.05, "low": 0.1, "high": 0.3, "n": 4}
    rows = pd.DataFrame(
        [row, row | {"mean": 0.1, "low": 0.0, "n": 2}, row | {"mean": -0.1, "low": -0.2, "high": 0.0, "n": 1}]
    )
    assert summary.verdicts(rows, ["metric", "group"]).splitlines() == [
        "a, s: rises, +20.0 points, 95 % interval [+10.0, +30.0], n=4 seeds",
        "a, s: undecided, +10.0 points, 95 % interval [+0.0, +30.0], n=2 seeds",
        "a, s: undecided, -10.0 points, 95 % interval [-20.0, +0.0], n=1 seeds",
    ]
    assert "n=7 seeds" in summary.verdicts(rows.assign(n_seeds=7), ["metric"])
    assert summary.percent(rows).tolist() == ["20.0 ± 5.0 (n=4)", "10.0 ± 5.0 (n=2)", "-10.0 (n=1)"]


def test_groups_and_columns_keep_the_order_of_the_table():
    names = [("x", "b"), ("x", "a"), ("w", "b"), ("w", "a")]
    rows = [{"seed": seed, "metric": m, "state": s, "value": seed} for seed in (1, 3) for m, s in names]
    table = summary.over_seeds(pd.DataFrame(rows), ["metric", "state"])
    assert list(zip(table["metric"], table["state"])) == names
    assert table[["mean", "std", "n"]].values.tolist() == [[2, pytest.approx(2**0.5), 2]] * 4
    shown = summary.grid(table, ["metric"], "state")
    assert (shown.index.tolist(), shown.columns.tolist(), shown.columns.name) == (["x", "w"], ["b", "a"], None)
    one = pd.DataFrame([row | {"other": row["value"] + 1} for row in rows])
    assert summary.over_seeds(one, ["metric"], "other")["mean"].tolist() == [3, 3]


def test_two_seeds_have_the_student_interval_of_one_degree_of_freedom():
    table = summary.student(pd.DataFrame({"mean": [1.0], "std": [2.0], "n": [2]}))
    half = stats.t.ppf(0.975, 1) * 2 / 2**0.5
    assert table[["low", "high"]].values.tolist() == [pytest.approx([1 - half, 1 + half])]
