from dataclasses import replace

import pytest
import torch

from analysis_lib.analysis.gamma.curve import seen_absent_curve
from analysis_lib.analysis.gamma.estimators import ALG, MATCHED, ORACLE
from analysis_lib.analysis.stats.claims import Contrast, Level
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.runs.outputs import Outputs
from analysis_lib.runs.plan import plan
from analysis_lib.runs.run_set import FINE_TUNED, PRE_TRAINED, RunSet
from analysis_lib.studies import STUDIES, calibration, temporal_differences, temporal_shift
from analysis_lib.studies.temporal_differences import PeriodState, since_first
from analysis_lib.studies.temporal_shift import PAST

YEARS = ("2001", "2002", "2003")


class Drifting(RunSet):
    """Outputs made by hand: in each year gamma* is that year's `drift`, and ALG is 4.

    Half of the seen samples of a year have a gap 1 above its drift, half 3 above; absent ones 1 and 3 below. Before
    fine-tuning every sample is right in the first year, and no absent one later on.
    """

    drift = (4.0, 6.0, 8.0)

    def outputs(self, spec, epoch, part):
        rows, split = self.manifest.rows(part), self.split(spec)
        labels = self.manifest.labels[rows]
        seen = split.is_seen(labels)
        logits = torch.zeros(len(rows), split.num_classes, dtype=torch.float64)
        mine = torch.arange(len(rows))
        if part == "train":
            logits[:, list(split.seen)] = 4.0
            logits[mine, labels] = 7.0
        else:
            logits -= 100.0
            year = self.manifest.body["date"].iloc[rows.numpy()].map(YEARS.index).to_numpy()
            half = torch.tensor(self.manifest.body["half"].iloc[rows.numpy()].to_numpy())
            centre = torch.tensor(self.drift)[torch.tensor(year)].double()
            gap = torch.where(seen, centre + 1 + 2 * half, centre - 1 - 2 * half)
            if epoch == 0:
                early = torch.tensor(year == 0)
                gap = torch.where(early & ~seen, -1.0, 1.0).double()
            other = torch.where(seen, split.absent[0], split.seen[0])
            logits[mine, labels] = torch.where(seen, gap, 0.0)
            logits[mine, other] = torch.where(seen, 0.0, gap)
        return Outputs(logits, logits, labels, rows)


@pytest.fixture
def drifting(project):
    """Two seeds of digits, whose test images of each class are dealt to three years, and alternate in `half`."""
    manifest = load_manifest("digits")
    test = manifest.body["split"] == "test"
    order = manifest.body[test].groupby("label").cumcount()
    body = manifest.body.assign(date=(order % 3).map(lambda year: YEARS[int(year)]), half=(order // 3) % 2)
    return Drifting(replace(manifest, body=body), tuple(plan("digits", "smoke", [0, 1])), "cpu")


def numbers(runs):
    table = temporal_shift.by_period(runs)
    assert not table.duplicated(["seed", "period", "checkpoint", "method", "metric"]).any()
    return table.set_index(["seed", "period", "checkpoint", "method", "metric"])["value"].sort_index()


def lost(runs, spec, year, halves):
    """The share of a year's test samples that are absent and of one of these halves."""
    body = runs.manifest.body[runs.manifest.body["date"] == year]
    absent = ~runs.split(spec).is_seen(torch.tensor(body["label"].to_numpy())).numpy()
    return (absent & body["half"].isin(halves)).mean()


def test_gamma_and_regret_are_known_where_the_drift_is(drifting):
    found = numbers(drifting)
    for spec in drifting.specs:
        for year, drift in zip(YEARS, Drifting.drift):
            own = found[spec.seed, year, FINE_TUNED]
            assert own[ORACLE, "gamma"] == own[MATCHED, "gamma"] == drift
            assert own[ORACLE, "acc_yy"] == 1 and own[MATCHED, "regret"] == 0
            assert own[ALG, "gamma"] == pytest.approx(4) and own[PAST, "gamma"] == 4
            halves = {"2001": (), "2002": (0,), "2003": (0, 1)}[year]
            for early in (ALG, PAST):
                assert own[early, "regret"] == pytest.approx(lost(drifting, spec, year, halves))
                assert own[early, "acc_sy"] == 1
            assert own["none", "acc_uy"] == 0 and own["none", "ausuc"] == own[ALG, "ausuc"] == 1
            assert found[spec.seed, year, PRE_TRAINED]["none", "acc_uy"] == (year == "2001")


def test_numbers_with_intervals_are_means_over_seeds_and_their_changes(drifting):
    found = numbers(drifting).groupby(["period", "checkpoint", "method", "metric"]).mean()
    table = temporal_differences.period_intervals(temporal_differences.period_numbers(drifting))
    table = table.set_index(["period", "checkpoint", "method", "metric"])
    assert table.index.is_unique and (table["n_seeds"] == 2).all()
    for key, row in table.iterrows():
        if key in found.index:
            assert row["mean"] == pytest.approx(found[key])
    for year in YEARS[1:]:
        for method, metric in ((ALG, "regret"), ("none", "acc_uy"), (PAST, "acc_yy")):
            grown = found[year, FINE_TUNED, method, metric] - found["2001", FINE_TUNED, method, metric]
            assert table.loc[(year, FINE_TUNED, method, since_first(metric)), "mean"] == pytest.approx(grown)
        change = table.loc[(year, FINE_TUNED, "none", "acc_uy_change"), "mean"]
        assert change == 0 and table.loc[("2001", FINE_TUNED, "none", "acc_uy_change"), "mean"] == -1
    sizes = drifting.manifest.body.groupby("date").size()
    for year in YEARS:
        assert table.loc[(year, FINE_TUNED, "none", "ausuc"), "n_samples"] == sizes[year]
        assert table.loc[(year, FINE_TUNED, ALG, "regret"), "n_samples"] == sizes[year]


def test_a_class_that_one_period_lacks_leaves_that_periods_number_as_it_is(drifting):
    body = drifting.manifest.body
    gone = (body["label"] == 3) & (body["date"] == "2001")
    runs = Drifting(replace(drifting.manifest, body=body[~gone].reset_index(drop=True)), drifting.specs, "cpu")
    found = temporal_differences.period_numbers(runs)
    place = {name: row for row, name in enumerate(found.names)}
    last = PeriodState(FINE_TUNED, ALG, "2003")
    grown = found.without[:, place[last, since_first("regret")], 3]
    first = found.whole[:, place[replace(last, period="2001"), "regret"]]
    assert torch.equal(grown, found.without[:, place[last, "regret"], 3] - first) and not grown.isnan().any()


@pytest.mark.parametrize(("drift", "expected"), [((4, 6, 8), "does not hold"), ((8, 6, 4), "holds")])
def test_the_claim_about_an_early_gamma_follows_the_drift(drifting, monkeypatch, drift, expected):
    """Where gamma* leaves ALG behind the claim fails; where it comes towards ALG, the regret falls and it holds."""
    monkeypatch.setattr(Drifting, "drift", tuple(map(float, drift)))
    claims = temporal_differences.verdicts(temporal_differences.period_numbers(drifting))
    own = claims[claims["quantity"] == Level(PeriodState(FINE_TUNED, ALG, "2003"), since_first("regret"))]
    assert own["verdict"].tolist() == [expected]
    assert len(claims["family"].unique()) == 3 and set(claims["verdict"]) <= {"holds", "does not hold", "undecided"}
    contrast = Contrast(PeriodState(FINE_TUNED, MATCHED, "2003"), PeriodState(FINE_TUNED, "stand_in", "2003"), "regret")
    assert (claims["quantity"] == contrast).sum() == 1
    assert expected in temporal_differences.verdict_text(claims)


def test_the_control_sees_that_the_period_is_harder_before_fine_tuning_too(drifting):
    claims = temporal_differences.verdicts(temporal_differences.period_numbers(drifting)).set_index("quantity")
    before = claims.loc[Level(PeriodState(PRE_TRAINED, "none", "2003"), since_first("acc_uy"))]
    after = claims.loc[Level(PeriodState(FINE_TUNED, "none", "2003"), since_first("acc_uy_change"))]
    assert before["mean"] == -1 and after["mean"] == 1


def test_a_period_without_absent_images_is_left_out(drifting):
    body = drifting.manifest.body
    split = drifting.split(drifting.specs[0])
    gone = (body["date"] == "2002") & body["label"].isin(split.absent)
    runs = Drifting(replace(drifting.manifest, body=body[~gone].reset_index(drop=True)), drifting.specs, "cpu")
    assert list(temporal_shift.periods(runs)) == ["2001", "2003"]
    counts = temporal_shift.contents(runs)
    assert (counts["images"] > 0).all() and set(counts["period"]) == {"2001", "2003"}


def test_without_dates_there_is_one_period_with_the_numbers_of_the_whole(digits):
    assert list(temporal_shift.periods(digits)) == ["all"]
    found = numbers(digits)
    known = calibration.calibrations(digits).query("checkpoint == @FINE_TUNED").set_index(["seed", "method"])
    for spec in digits.specs:
        own = found[spec.seed, "all", FINE_TUNED]
        for method in (*temporal_shift.EARLY, MATCHED, ORACLE):
            for metric in ("gamma", "acc_sy", "acc_uy", "acc_yy"):
                assert own[method, metric] == known.loc[(spec.seed, method), metric]
        assert own[PAST, "regret"] == own[ORACLE, "regret"] == 0
        test = digits.outputs(spec, spec.epochs, "test")
        curve = seen_absent_curve(test.logits, test.labels, digits.split(spec))
        assert own["none", "ausuc"] == curve.ausuc
    claims = temporal_differences.verdicts(temporal_differences.period_numbers(digits))
    assert claims.empty and "one period" in temporal_differences.verdict_text(claims)


def test_the_study_makes_no_run_that_others_do_not_make(digits_root, monkeypatch):
    monkeypatch.setenv("FTC_ROOT", str(digits_root))
    own = STUDIES["temporal_shift"].runs("digits", "smoke", [0, 1])
    assert {spec.run_id for spec in own} <= {
        spec.run_id for spec in STUDIES["calibration"].runs("digits", "smoke", [0, 1])
    }
