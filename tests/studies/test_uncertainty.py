import math

import pytest
import torch

from analysis_lib.analysis.gamma.curve import seen_absent_curve
from analysis_lib.analysis.gamma.estimators import HALVES, PRETRAINED, THIRDS, offered
from analysis_lib.analysis.stats import summary
from analysis_lib.analysis.stats.claims import BEFORE, CLAIMS, Contrast, State
from analysis_lib.analysis.stats.claims import change as fine_tuned_minus_pretrained
from analysis_lib.runs import run_set
from analysis_lib.studies import accuracy, calibration, head, uncertainty


def test_sample_values_average_to_the_tables(digits):
    """Per-sample values against what `calibrations` and `metrics_by_epoch` compute their own way."""
    calibrated = calibration.calibrations(digits)
    values = [uncertainty.sample_values(digits, spec, calibrated) for spec in digits.specs]
    means = [{name: samples.nanmean().item() for name, samples in seed.items()} for seed in values]
    for seed, found in enumerate(means):
        for line in calibrated[calibrated["seed"] == seed].itertuples():
            for key in uncertainty.KEYS:
                assert found[State(line.checkpoint, line.method), key] == pytest.approx(getattr(line, key))
    ends = accuracy.checkpoints_only(digits, accuracy.metrics_by_epoch(digits)).set_index(
        ["seed", "checkpoint", "metric"]
    )["value"]
    for seed, found in enumerate(means):
        for checkpoint in (run_set.PRE_TRAINED, run_set.FINE_TUNED):
            for probe in uncertainty.PROBES:
                assert found[State(checkpoint), probe] == pytest.approx(ends[seed, checkpoint, probe])


def test_the_evidence_answers_every_claim_and_its_means_are_differences(digits):
    calibrated = calibration.calibrations(digits)
    by_epoch = head.head_by_epoch(digits)
    ends = accuracy.checkpoints_only(digits, by_epoch).dropna(subset="value")
    table = uncertainty.evidence(digits, calibrated, ends).set_index("quantity")
    assert table.index.is_unique
    wanted = {claim.quantity for claim in CLAIMS if isinstance(claim.quantity, Contrast)}
    assert wanted <= set(table.index)
    wide = calibrated.pivot(index="seed", columns=["checkpoint", "method"], values="acc_uy").mean()
    assert table.loc[Contrast(State("fine-tuned", "alg"), BEFORE, "acc_uy"), "mean"] == pytest.approx(
        wide["fine-tuned", "alg"] - wide["pre-trained", "none"]
    )
    metric = "angle_part - norm_part"
    change = summary.change(ends, "pre-trained", "fine-tuned", "checkpoint", ["metric"]).set_index("metric").loc[metric]
    row = table.loc[fine_tuned_minus_pretrained(metric)]
    assert row[["mean", "low", "high"]].tolist() == pytest.approx(change[["mean", "low", "high"]].tolist())
    assert row["interval"] == "seeds"


def test_numbers_without_a_class_are_those_of_the_samples_without_it(digits):
    """Accuracies and AUSUC computed again by the plain functions on all samples but those of one class."""
    found = uncertainty.checkpoint_numbers(digits, calibration.calibrations(digits))
    place = {name: row for row, name in enumerate(found.names)}
    end = State(run_set.FINE_TUNED)
    for k, spec in enumerate(digits.specs):
        split, test = digits.split(spec), digits.outputs(spec, spec.epochs, "test")
        for c in (3, 8):
            some = test.where(test.labels != c)
            curve = seen_absent_curve(some.logits, some.labels, split)
            area = found.without[k, place[end, "ausuc"], c].item()
            assert area == pytest.approx(curve.ausuc)
            if c in split.absent:
                for name, value in (("acc_uu", curve.acc_uy[-1]), ("acc_uy", curve.at(0.0).acc_uy)):
                    state = State(run_set.FINE_TUNED, "none") if name == "acc_uy" else end
                    assert found.without[k, place[state, name], c].item() == pytest.approx(float(value))
        whole = seen_absent_curve(test.logits, test.labels, split)
        assert found.whole[k, place[end, "ausuc"]].item() == pytest.approx(whole.ausuc)


def test_a_difference_from_itself_is_zero_without_an_interval(digits):
    found = uncertainty.checkpoint_numbers(digits, calibration.calibrations(digits))
    row = found.differences([Contrast(BEFORE, BEFORE, "acc_uy")]).iloc[0]
    assert row[["mean", "low", "high"]].tolist() == [0, 0, 0]


def test_the_interval_of_a_mean_gap_is_that_of_a_mean(digits):
    """ALG is a mean over samples, so its bootstrap interval has the length that the standard error gives."""
    table = uncertainty.gamma_intervals(digits, resamples=300).set_index(["seed", "method"])
    spec = digits.specs[0]
    split, own = digits.split(spec), digits.fine_tuning_outputs(spec, spec.epochs)
    logits = own.logits.double()
    wrong = (logits[:, list(split.seen)].sum(1) - logits.gather(1, own.labels[:, None]).squeeze(1)) / (
        len(split.seen) - 1
    )
    gaps = wrong - logits[:, list(split.absent)].mean(1)
    row = table.loc[(0, "alg")]
    assert row["gamma"] == pytest.approx(gaps.mean().item())
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * gaps.std().item() / math.sqrt(len(gaps)), rel=0.2)
    assert (table["low"] <= table["high"]).all() and set(table.index.get_level_values("method")) == set(
        offered(frozenset({PRETRAINED, HALVES, THIRDS}))
    )


def test_gamma_intervals_never_see_the_test_data(digits, monkeypatch):
    before = uncertainty.gamma_intervals(digits, resamples=3)
    real = type(digits).outputs

    def poisoned(self, spec, epoch, part):
        outputs = real(self, spec, epoch, part)
        if part == "test" and not spec.validation:
            outputs.logits.copy_(torch.randn(outputs.logits.shape))
        return outputs

    monkeypatch.setattr(type(digits), "outputs", poisoned)
    after = uncertainty.gamma_intervals(digits, resamples=3)
    assert before.equals(after)
