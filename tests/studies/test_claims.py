import pandas as pd
import pytest
import torch

from analysis_lib.analysis.stats.claims import (
    AFTER,
    BATCHNORM,
    BATCHNORM_ONLY,
    CLAIMS,
    EXPLANATION,
    Contrast,
    Level,
    State,
    judge,
)
from analysis_lib.runs.run_set import RunSet
from analysis_lib.studies import accuracy, calibration, claims, first_step, gain_prediction, head, uncertainty


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
    excludes = (judged["low"] > judged["bound"]) | (judged["high"] < judged["bound"])
    assert excludes[judged["verdict"] != "undecided"].all()


def test_the_evidence_is_what_the_tables_say(digits, gathered):
    rows = gathered.set_index("quantity")
    by_epoch = head.head_by_epoch(digits)
    metric = "relation_change_s - relation_change_u"
    ends = by_epoch[by_epoch["metric"] == metric].query("epoch == @digits.specs[0].epochs")
    assert rows.loc[Level("fine-tuned", metric), "mean"] == pytest.approx(ends["value"].mean())
    assert rows.loc[Level("fine-tuned", metric), ["n_seeds", "interval"]].tolist() == [2, "seeds"]
    targets = first_step.target_means(digits, digits.specs[0]).set_index("metric")
    columns = ["mean", "low", "high", "n_samples", "interval"]
    for metric in ("common", "rank_kernel"):
        assert rows.loc[Level("targets", metric), columns].tolist() == targets.loc[metric, columns].tolist()
        assert rows.loc[Level("targets", metric), "interval"] == "classes"
    found = gain_prediction.correlations([gain_prediction.by_class(digits, spec) for spec in digits.specs]).set_index(
        ["predictor", "outcome"]
    )
    assert rows.loc[Level("Spearman", "kernel"), "mean"] == found.loc[("kernel", "margin_gain"), "mean"]
    wide = calibration.calibrations(digits).groupby(["checkpoint", "method"])["acc_yy"].mean()
    gain = wide["fine-tuned", "stand_in"] - wide["fine-tuned", "none"]
    row = rows.loc[Contrast(State("fine-tuned", "stand_in"), AFTER, "acc_yy")]
    assert row["mean"] == pytest.approx(gain) and row["interval"] == "seeds and classes"
    stars = wide["fine-tuned", "gamma* (oracle)"] - wide["pre-trained", "gamma* (oracle)"]
    best = Contrast(*(State(of, "gamma* (oracle)") for of in ("fine-tuned", "pre-trained")), "acc_yy")
    assert rows.loc[best, "mean"] == pytest.approx(stars)


def test_a_further_checkpoint_is_compared_with_both(digits, monkeypatch):
    """The network after two epochs stands for one whose BatchNorm statistics alone were fitted."""
    real = RunSet.checkpoints
    monkeypatch.setattr(RunSet, "checkpoints", lambda runs, spec: real(runs, spec) | {BATCHNORM_ONLY: 2})
    rows = []
    for spec in digits.specs:
        curve = digits.curve(spec, 2)
        for method, point in (("none", curve.at(0.0)), ("gamma* (oracle)", curve.best())):
            rows.append({"seed": spec.seed, "checkpoint": BATCHNORM_ONLY, "method": method, **vars(point)})
    calibrated = pd.concat([calibration.calibrations(digits), pd.DataFrame(rows)], ignore_index=True)
    ends = accuracy.checkpoints_only(digits, head.head_by_epoch(digits)).dropna(subset="value")
    table = uncertainty.evidence(digits, calibrated, ends).set_index("quantity")
    assert table.index.is_unique and {claim.quantity for claim in BATCHNORM} <= set(table.index)
    seeds = [(digits.curve(spec, 2), digits.curve(spec, spec.epochs)) for spec in digits.specs]
    expected = {
        Contrast(State("fine-tuned"), State(BATCHNORM_ONLY), "ausuc"): [b.ausuc - a.ausuc for a, b in seeds],
        Contrast(State(BATCHNORM_ONLY), State("pre-trained"), "acc_uy"): [
            a.at(0.0).acc_uy - digits.curve(spec, 0).at(0.0).acc_uy for spec, (a, _) in zip(digits.specs, seeds)
        ],
        BATCHNORM[2].quantity: [b.best().acc_yy - a.best().acc_yy for a, b in seeds],
    }
    for quantity, differences in expected.items():
        assert table.loc[quantity, "mean"] == pytest.approx(torch.tensor(differences).mean().item())
