import pytest

from analysis_lib import protocol, runs, shifts, spec
from analysis_lib.data.manifest import load_manifest


@pytest.fixture
def cells(digits):
    """Two cells with real runs: the recipe's, and one at a lower rate."""
    return protocol.open_cells("digits", "smoke", [0, 1], "cpu")


def test_the_cells_are_the_grid_and_share_the_recipe(digits, cells):
    assert list(cells) == [(5e-3, 4), (2e-2, 4)]
    assert cells[2e-2, 4].specs == digits.specs
    assert [(s.lr, s.epochs, s.seed) for s in cells[5e-3, 4].specs] == [(5e-3, 4, 0), (5e-3, 4, 1)]


def test_shares_are_gains_over_the_oracles_gain(cells):
    chosen = protocol.choices(cells)
    table = protocol.shares(cells, chosen).set_index(["cell", "method"])
    mean = chosen.groupby(["lr", "method"])["acc_yy"].mean()
    for lr in (5e-3, 2e-2):
        gain = mean[lr] - mean[lr]["none"]
        for method in shifts.METHODS:
            assert table.loc[(f"lr {lr:g}, 4 epochs", method), "share"] == pytest.approx(gain[method] / gain[shifts.ORACLE])
    by_cell = table["share"].unstack("cell")
    own = by_cell[["lr 0.005, 4 epochs", "lr 0.02, 4 epochs"]]
    assert by_cell["median"].to_dict() == pytest.approx(own.median(axis=1).to_dict())
    assert by_cell["worst"].to_dict() == pytest.approx(own.min(axis=1).to_dict())
    assert (table["low"] <= table["high"]).all() and (table.xs(shifts.ORACLE, level="method")["share"] == 1).all()
    assert set(chosen["method"]) == set(shifts.METHODS)


def test_development_seeds_are_never_reported_ones_and_belong_to_the_full_profile(digits):
    for benchmark, profiles in spec.GRIDS.items():
        for profile, chosen in profiles.items():
            assert bool(chosen.development) == (profile == "full")
            assert not set(chosen.development) & {0, 1, 2}, benchmark
    assert protocol.development("digits", "smoke").empty


def test_development_seeds_draw_other_seen_classes():
    for benchmark in spec.GRIDS:
        specs = runs.plan(benchmark, "full", [0, 1, 2, *spec.grid(benchmark, "full").development])
        seen = [load_manifest(benchmark).class_split(s.seed).seen for s in specs]
        assert len(set(seen)) == len(seen)
