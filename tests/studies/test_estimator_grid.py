import pandas as pd
import pytest
import torch

from analysis_lib.analysis.gamma.estimators import ESTIMATORS, NONE, ORACLE
from analysis_lib.benchmarks import BENCHMARKS, grid
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.runs import plan
from analysis_lib.studies import estimator_grid


@pytest.fixture
def cells(digits):
    """Two cells with real runs: the recipe's, and one at a lower rate."""
    return estimator_grid.read_cells("digits", "smoke", [0, 1], "cpu")


def test_the_cells_are_the_grid_and_share_the_recipe(digits, cells):
    assert list(cells) == [(5e-3, 4), (2e-2, 4)]
    assert cells[2e-2, 4].specs == digits.specs
    assert [(s.lr, s.epochs, s.seed) for s in cells[5e-3, 4].specs] == [(5e-3, 4, 0), (5e-3, 4, 1)]


def test_regrets_are_differences_from_the_cross_fitted_oracle(cells):
    chosen = estimator_grid.choices(cells)
    table = estimator_grid.regrets(cells, chosen).set_index(["measure", "cell", "method"])
    mean = chosen.groupby(["lr", "method"])["acc_yy"].mean()
    methods = [method for method in ESTIMATORS if method != "pcv"]  # its folds are of the recipe's setting alone
    for lr in (5e-3, 2e-2):
        cell = f"lr {lr:g}, 4 epochs"
        value = table["value"].xs(cell, level="cell")
        oracle = mean[lr]["none"] + value["gain", estimator_grid.CROSS_FITTED]
        for method in methods:
            assert value["gain", method] == pytest.approx(mean[lr][method] - mean[lr]["none"])
            assert value["regret", method] == pytest.approx(oracle - mean[lr][method])
            assert value["recovered_gain", method] == pytest.approx(
                value["gain", method] / value["gain", estimator_grid.CROSS_FITTED]
            )
        assert value["regret", ORACLE] < 0, "gamma* is chosen on the images that score it"
    by_cell = table["value"]["regret"].unstack("cell")
    own = by_cell[["lr 0.005, 4 epochs", "lr 0.02, 4 epochs"]]
    assert by_cell["median"].to_dict() == pytest.approx(own.median(axis=1).to_dict())
    assert by_cell["worst"].to_dict() == pytest.approx(own.max(axis=1).to_dict())
    assert (table["low"] <= table["high"]).all() and set(by_cell.index) == {*methods, estimator_grid.CROSS_FITTED}


CHOSEN_ON = ("digits", "emoji")  # the benchmarks on which estimators were chosen


def test_development_seeds_are_never_reported_ones_and_belong_to_the_full_profile(digits):
    for benchmark, known in BENCHMARKS.items():
        for profile, chosen in known.grids.items():
            assert bool(chosen.development) == (profile == "full" and benchmark in CHOSEN_ON)
            assert not set(chosen.development) & set(range(20, 30)), benchmark
    assert estimator_grid.development("digits", "smoke").empty


def test_development_seeds_draw_other_seen_classes():
    for benchmark in CHOSEN_ON:
        specs = plan.plan(benchmark, "full", [20, 21, 22, *grid(benchmark, "full").development])
        seen = [load_manifest(benchmark).class_split(s.seed).seen for s in specs]
        assert len(set(seen)) == len(seen)


def rows(method, median, worst, share):
    found = [(cell, method, "regret", value) for cell, value in (("median", median), ("worst", worst))]
    found += [(cell, method, "recovered_gain", share) for cell in ("median", "worst")]
    return found


def test_the_verdicts_measure_against_the_goals():
    cases = {"alg": (0.004, 0.014, 0.96), "max_gap": (0.006, 0.014, 0.96), "pcv": (0.004, 0.016, 0.96)}
    cases |= {"stand_in": (0.004, 0.014, 0.94), "transported_cv": (0.004, 0.014, float("nan"))}
    table = pd.DataFrame(
        [row for method, numbers in cases.items() for row in rows(method, *numbers)],
        columns=["cell", "method", "measure", "value"],
    )
    lines = dict(line.split(": ", 1) for line in estimator_grid.verdicts(table).splitlines())
    assert {method: line.split(";")[0] for method, line in lines.items()} == {
        "alg": "goals reached",
        "max_gap": "goals missed",
        "pcv": "goals missed",
        "stand_in": "goals missed",
        "transported_cv": "goals reached",
    }
    assert "median 0.60 (goal 0.5)" in lines["max_gap"] and "worst setting 1.60 (goal 1.5)" in lines["pcv"]


def test_a_setting_with_little_to_gain_has_a_regret_but_no_recovered_gain_in_the_summary():
    methods = [NONE, "alg", estimator_grid.CROSS_FITTED]
    accuracy = torch.tensor([[0.5, 0.49, 0.5, 0.5, 0.6, 0.7]], dtype=torch.float64)  # two settings of three methods
    found = estimator_grid._measures(accuracy, methods, 2)
    assert found["regret"][0, :, 1].tolist() == pytest.approx([0.01, 0.1, 0.055, 0.1])
    share = found["recovered_gain"][0, :, 1]
    assert share[0].isnan() and share[1:].tolist() == pytest.approx([0.5, 0.5, 0.5])
