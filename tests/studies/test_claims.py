import pytest
import torch

from analysis_lib.analysis.stats.claims import AFTER, BATCHNORM_ONLY, CLAIMS, Contrast, Level, State, judge
from analysis_lib.studies import calibration, claims, first_step, gain_prediction, head


@pytest.fixture
def gathered(digits):
    return claims.gather(digits)


def test_every_claim_finds_its_evidence_and_each_quantity_is_one_row(gathered):
    assert list(gathered.columns) == claims.COLUMNS and gathered["quantity"].is_unique
    judged = judge(gathered)
    assert len(judged) == len(CLAIMS)
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


def test_the_control_is_compared_with_both_ends(digits, gathered):
    rows = gathered.set_index("quantity")["mean"]
    seeds = []
    for spec in digits.specs:
        curves = {name: digits.curve(run, epoch) for name, (run, epoch) in digits.checkpoints(spec).items()}
        seeds.append([curves[name] for name in ("pre-trained", BATCHNORM_ONLY, "fine-tuned")])
    star = "gamma* (oracle)"
    expected = {
        Contrast(State("fine-tuned"), State(BATCHNORM_ONLY), "ausuc"): [b.ausuc - a.ausuc for _, a, b in seeds],
        Contrast(State(BATCHNORM_ONLY), State("pre-trained"), "acc_uy"): [
            b.at(0.0).acc_uy - a.at(0.0).acc_uy for a, b, _ in seeds
        ],
        Contrast(State("fine-tuned", star), State(BATCHNORM_ONLY, star), "acc_yy"): [
            b.best().acc_yy - a.best().acc_yy for _, a, b in seeds
        ],
    }
    for quantity, differences in expected.items():
        assert rows[quantity] == pytest.approx(torch.tensor(differences).mean().item())
