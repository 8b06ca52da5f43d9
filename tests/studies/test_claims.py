import pytest

from analysis_lib.analysis.stats.claims import AFTER, CLAIMS, EXPLANATION, Contrast, Level, State, judge
from analysis_lib.studies import calibration, claims, first_step, gain_prediction, head


@pytest.fixture
def gathered(digits):
    return claims.gather(digits)


def test_every_claim_finds_its_evidence_and_each_quantity_is_one_row(gathered):
    assert list(gathered.columns) == claims.COLUMNS and gathered["quantity"].is_unique
    judged = judge(gathered)
    assert len(judged) == len(CLAIMS) + len(EXPLANATION)
    assert set(judged["verdict"]) <= {"holds", "does not hold", "undecided"}
    inside = gathered.dropna(subset=["low", "high"])
    assert (inside["low"] <= inside["high"]).all()


def test_the_evidence_is_what_the_tables_say(digits, gathered):
    rows = gathered.set_index("quantity")
    by_epoch = head.head_by_epoch(digits)
    ends = by_epoch[by_epoch["metric"] == "relation_cosine"].query("epoch == @digits.specs[0].epochs")
    assert rows.loc[Level("fine-tuned", "relation_cosine"), "mean"] == pytest.approx(ends["value"].mean())
    assert rows.loc[Level("fine-tuned", "relation_cosine"), ["n_seeds", "interval"]].tolist() == [2, "Student"]
    targets = first_step.target_means(digits, digits.specs[0]).set_index("metric")
    for metric, interval in (("common", "jackknife"), ("rank_kernel", "bootstrap")):
        assert (
            rows.loc[Level("targets", metric), ["mean", "low", "high"]].tolist()
            == targets.loc[metric, ["mean", "low", "high"]].tolist()
        )
        assert rows.loc[Level("targets", metric), "interval"] == interval
    found = gain_prediction.correlations([gain_prediction.by_class(digits, spec) for spec in digits.specs]).set_index(
        ["predictor", "outcome"]
    )
    assert rows.loc[Level("Spearman", "kernel"), "mean"] == found.loc[("kernel", "margin_gain"), "mean"]
    wide = calibration.calibrations(digits).groupby(["checkpoint", "method"])["acc_yy"].mean()
    gain = wide["fine-tuned", "stand_in"] - wide["fine-tuned", "none"]
    assert rows.loc[Contrast(State("fine-tuned", "stand_in"), AFTER, "acc_yy"), "mean"] == pytest.approx(gain)
