import pandas as pd
import pytest
import torch

from analysis_lib.analysis.gamma.curve import shift_logits
from analysis_lib.analysis.gamma.estimators import MATCHED, MATCHED_STAND_IN, NONE, ORACLE
from analysis_lib.core.seeds import generator_for
from analysis_lib.studies import calibration, estimator_grid, label_shift
from analysis_lib.studies.shifted_pools import held_out_rows, pool_rows, pools

KEYS = ["absent_share", "told", "method"]


@pytest.fixture
def cells(digits):
    """Two cells with real runs: the recipe's, and one at a lower rate."""
    return estimator_grid.read_cells("digits", "smoke", [0, 1], "cpu")


@pytest.fixture
def tables(cells):
    estimated = label_shift.estimates(cells, (0.1, 0.9))
    return estimated, label_shift.choices(cells, estimated)


def test_a_pool_has_its_share_and_no_held_out_image(digits):
    spec = digits.specs[0]
    test = digits.outputs(spec, spec.epochs, "test")
    seen, held_out = digits.split(spec).is_seen(test.labels), held_out_rows(digits, spec)
    assert not (held_out & ~seen).any() and held_out.sum() == pytest.approx(seen.sum() / 2, abs=1)
    clusters = digits.clusters(test)
    assert not torch.isin(clusters[held_out], clusters[seen & ~held_out]).any()
    for share in (0.1, 0.5, 0.9):
        rows = pool_rows(digits, spec, share, ~held_out)
        assert len(rows.unique()) == len(rows) and not held_out[rows].any()
        assert (~seen[rows]).double().mean().item() == pytest.approx(share, abs=0.01)
        assert (~seen[rows]).sum() == (~seen).sum() or seen[rows].sum() == (seen & ~held_out).sum()


def test_the_pool_reaches_estimators_without_labels(cells):
    for pool in pools(cells, (0.1,)):
        assert pool.evidence.target_labels is None and pool.evidence.absent_share is None


def test_scores_are_accuracies_at_the_share(cells, tables):
    """Against predictions of the shifted test logits, group by group; no gamma beats the oracle there."""
    _, chosen = tables
    runs = cells[2e-2, 4]
    spec = runs.specs[1]
    test, split = runs.outputs(spec, spec.epochs, "test"), runs.split(spec)
    seen = split.is_seen(test.labels)
    own = chosen[(chosen["cell"] == "lr 0.02, 4 epochs") & (chosen["seed"] == 1)]
    for row in own.itertuples():
        right = (shift_logits(test.logits, split, row.gamma).argmax(1) == test.labels).double()
        acc = (1 - row.absent_share) * right[seen].mean() + row.absent_share * right[~seen].mean()
        assert row.acc == pytest.approx(acc.item())
    assert (chosen["regret"] >= 0).all() and (chosen.query("method == @ORACLE")["regret"] == 0).all()
    for share, oracle in own.query("method == @ORACLE").set_index("absent_share")["acc"].items():
        for gamma in torch.linspace(-10, 20, 61).tolist():
            right = (shift_logits(test.logits, split, gamma).argmax(1) == test.labels).double()
            assert oracle >= (1 - share) * right[seen].mean() + share * right[~seen].mean() - 1e-12


def test_told_the_share_of_the_classes_stand_ins_are_what_they_are_untold(cells, tables):
    _, chosen = tables
    runs = cells[5e-3, 4]
    untold = calibration.choose_gamma(runs, runs.specs[0], "stand_in")
    own = chosen.query("cell == 'lr 0.005, 4 epochs' and seed == 0 and method == 'stand_in' and told == 'classes'")
    assert own["gamma"].tolist() == [untold] * 2 and own["told_share"].tolist() == [0.5] * 2
    estimated = (
        tables[0].query("estimate == @label_shift.HELD_OUT").set_index(["cell", "seed", "absent_share"])["share"]
    )
    for row in chosen.query("told == 'estimated'").itertuples():
        assert row.told_share == estimated[row.cell, row.seed, row.absent_share]


def test_regrets_are_means_over_seeds_with_intervals(cells, tables):
    _, chosen = tables
    table = label_shift.regrets(cells, chosen).set_index(KEYS)
    by_cell = chosen.groupby([*KEYS, "cell"])["regret"].mean().unstack("cell")
    for key, row in table.iterrows():
        assert row["regret"] == pytest.approx(by_cell.loc[key].median(), abs=1e-12)
        assert row["worst"] == pytest.approx(by_cell.loc[key].max(), abs=1e-12)
        assert row["low"] <= row["regret"] <= row["high"]
    assert (table.xs(ORACLE, level="method")[["regret", "low", "high"]] == 0).all(axis=None)
    assert set(table["n_seeds"]) == {2} and set(table["n_cells"]) == {2}


def test_the_right_share_costs_less_than_a_wrong_one(cells, tables):
    regret = tables[1].groupby(KEYS)["regret"].mean()
    for share in (0.1, 0.9):
        for method in (MATCHED, MATCHED_STAND_IN):
            wrong = regret[share, label_shift.CLASSES, method]
            assert regret[share, label_shift.TRUE, method] < wrong
            assert regret[share, label_shift.ESTIMATED, method] < wrong
    assert regret[0.9, label_shift.NOTHING, NONE] > 0.1


def test_errors_count_what_intervals_cover(tables):
    table = pd.DataFrame(
        {
            "absent_share": [0.5] * 3,
            "estimate": ["a", "a", "b"],
            "share": [0.4, 0.8, 0.5],
            "low": [0.3, 0.6, float("nan")],
            "high": [0.5, 0.9, float("nan")],
            "n_pool": [20, 10, 9],
        }
    )
    found = label_shift.errors(table).set_index("estimate")
    assert found.loc["a", ["bias", "covered", "n", "n_pool"]].tolist() == pytest.approx([0.1, 0.5, 2, 10])
    assert found.loc["a", "spread"] == pytest.approx(0.4 / 2**0.5)
    assert pd.isna(found.loc["b", "covered"])
    held_out = tables[0].query("estimate == @label_shift.HELD_OUT")
    assert (held_out["share"] - held_out["absent_share"]).abs().max() < 0.35


def test_pools_are_drawn_by_named_seeds(digits):
    spec = digits.specs[0]
    seen = digits.split(spec).is_seen(digits.outputs(spec, spec.epochs, "test").labels)
    order = torch.randperm(len(seen), generator=generator_for("pool", "digits", spec.seed))
    rows = pool_rows(digits, spec, 0.5, torch.ones_like(seen))
    assert rows[~seen[rows]].tolist() == order[~seen[order]][: int((~seen[rows]).sum())].tolist()


def test_a_wrong_share_costs_and_the_right_one_costs_least(digits):
    table = label_shift.wrong_share(digits, ("stand_in",))
    means = table.groupby(["told", "absent_share"])["regret"].mean().unstack("absent_share")
    assert (table["regret"] >= -1e-12).all() and means.shape == (5, 5)
    assert means.loc[0.1, 0.1] < means.loc[0.9, 0.1] and means.loc[0.9, 0.9] < means.loc[0.1, 0.9]
    gammas = table.groupby(["seed", "told"])["gamma"].first().unstack("told")
    assert (gammas.diff(axis=1).iloc[:, 1:] >= 0).all(axis=None), "the more absent, the larger gamma"
