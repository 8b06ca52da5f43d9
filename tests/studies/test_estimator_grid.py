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


def test_shares_are_gains_over_the_oracles_gain(cells):
    chosen = estimator_grid.choices(cells)
    table = estimator_grid.shares(cells, chosen).set_index(["cell", "method"])
    mean = chosen.groupby(["lr", "method"])["acc_yy"].mean()
    for lr in (5e-3, 2e-2):
        gain = mean[lr] - mean[lr]["none"]
        for method in ESTIMATORS:
            assert table.loc[(f"lr {lr:g}, 4 epochs", method), "share"] == pytest.approx(gain[method] / gain[ORACLE])
    by_cell = table["share"].unstack("cell")
    own = by_cell[["lr 0.005, 4 epochs", "lr 0.02, 4 epochs"]]
    assert by_cell["median"].to_dict() == pytest.approx(own.median(axis=1).to_dict())
    assert by_cell["worst"].to_dict() == pytest.approx(own.min(axis=1).to_dict())
    assert (table["low"] <= table["high"]).all() and (table.xs(ORACLE, level="method")["share"] == 1).all()
    assert set(chosen["method"]) == set(ESTIMATORS)


def test_development_seeds_are_never_reported_ones_and_belong_to_the_full_profile(digits):
    for benchmark, known in BENCHMARKS.items():
        for profile, chosen in known.grids.items():
            assert bool(chosen.development) == (profile == "full")
            assert not set(chosen.development) & {0, 1, 2}, benchmark
    assert estimator_grid.development("digits", "smoke").empty


def test_development_seeds_draw_other_seen_classes():
    for benchmark in BENCHMARKS:
        specs = plan.plan(benchmark, "full", [0, 1, 2, *grid(benchmark, "full").development])
        seen = [load_manifest(benchmark).class_split(s.seed).seen for s in specs]
        assert len(set(seen)) == len(seen)


def test_the_verdicts_measure_against_the_goals_of_each_cost(cells):
    table = estimator_grid.shares(cells, estimator_grid.choices(cells))
    lines = dict(line.split(": ", 1) for line in estimator_grid.verdicts(table).splitlines())
    assert list(lines) == [method for method in ESTIMATORS if method not in (NONE, ORACLE)]
    merit = table.set_index(["method", "cell"])["share"]
    for method in (estimator_grid.MATCHED, estimator_grid.MATCHED_STAND_IN):
        assert lines.pop(method) == f"median {merit[method, 'median']:.2f}; worst cell {merit[method, 'worst']:.2f}; another setting, for which no goal was set"
    for method, line in lines.items():
        goal = 0.95 if ESTIMATORS[method].extra_training else 0.90
        assert f"goal {goal:.2f} {'reached' if merit[method, 'median'] >= goal else 'missed'};" in line
        assert line.endswith("kept" if merit[method, "worst"] >= 0.6 else "broken")


def test_a_cell_where_the_oracle_gains_nothing_is_left_out():
    accuracy = torch.tensor([[0.5, 0.5, 0.5, 0.5, 0.6, 0.7]], dtype=torch.float64)  # two cells of none, alg, oracle
    share = estimator_grid._shares(accuracy, [NONE, "alg", ORACLE], 2)[0]
    assert share[0].isnan().all() and share[1].tolist() == pytest.approx([0, 0.5, 1])
    assert share[2].tolist() == pytest.approx(share[1].tolist()) and share[3].tolist() == pytest.approx(share[1].tolist())


def test_a_mismatched_pool_has_the_wanted_share(digits):
    spec = digits.specs[0]
    test = digits.outputs(spec, spec.epochs, "test")
    known = {tuple(row.tolist()): bool(seen) for row, seen in zip(test.logits, digits.split(spec).is_seen(test.labels))}
    for share in (0.1, 0.5, 0.9):
        pool = estimator_grid._pool(digits, spec, share)
        absent = [not known[tuple(row.tolist())] for row in pool]
        assert sum(absent) / len(absent) == pytest.approx(share, abs=0.01)
        assert len(pool) == len({tuple(row.tolist()) for row in pool}) >= 0.5 * len(known)


def test_with_the_whole_pool_the_mismatch_is_none(cells, monkeypatch):
    """Then what matching assumes is what the table of shares has."""
    monkeypatch.setattr(estimator_grid, "_pool", lambda study, spec, share: study.outputs(spec, spec.epochs, "test").logits)
    merit = estimator_grid.shares(cells, estimator_grid.choices(cells)).set_index(["cell", "method"])["share"]
    table = estimator_grid.mismatch(cells, (0.2,)).set_index(["assumed", "method"])
    for method in (estimator_grid.MATCHED, estimator_grid.MATCHED_STAND_IN):
        row = table.loc["classes", method]
        assert row[["median", "worst"]].tolist() == pytest.approx([merit["median", method], merit["worst", method]])
        assert row[["n_cells", "n_seeds"]].tolist() == [2, 2]
    assert table.loc[("true", estimator_grid.MATCHED), "median"] < table.loc[("classes", estimator_grid.MATCHED), "median"], "a fifth is not the share of this pool"


def test_knowing_the_share_helps_a_thinned_pool(cells):
    table = estimator_grid.mismatch(cells, (0.1,)).set_index(["assumed", "method"])["median"]
    assert table["true", estimator_grid.MATCHED] > table["classes", estimator_grid.MATCHED]
