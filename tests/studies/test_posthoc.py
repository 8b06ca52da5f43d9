import pytest
import torch

from analysis_lib import accuracies
from analysis_lib.analysis.gamma.estimators import ESTIMATORS, ORACLE
from analysis_lib.analysis.gamma.posthoc import BASELINES
from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.preprocess import normalizer
from analysis_lib.runs import execute
from analysis_lib.runs.outputs import extract
from analysis_lib.studies import calibration, posthoc


def test_every_treatment_is_measured_once_per_seed(digits):
    table = posthoc.comparison(digits)
    methods = {*ESTIMATORS, *BASELINES, posthoc.WISE, posthoc.WISE_SHIFTED, posthoc.ALL_CLASSES}
    assert set(table["method"]) == methods and len(table) == 2 * len(methods) * len(posthoc.MEASURES)
    assert set(table[table["oracle"]]["method"]) == {ORACLE, "ncm", posthoc.WISE_SHIFTED, posthoc.ALL_CLASSES}
    wide = table.pivot(index=["seed", "method"], columns="metric", values="value")
    calibrated = calibration.calibrations(digits).query("checkpoint == 'fine-tuned'").set_index(["seed", "method"])
    for key in ("acc_sy", "acc_uy", "acc_yy"):
        assert wide[key].reindex(calibrated.index).to_list() == pytest.approx(calibrated[key].to_list())
    shifted = wide.loc[(0, slice(None)), :].xs(0, level="seed").loc[list(ESTIMATORS)]
    assert shifted["ausuc"].to_list() == pytest.approx([shifted["ausuc"].iloc[0]] * len(shifted)), (
        "no shift moves the curve"
    )
    assert wide.xs("ncm", level="method")[["ece_y", "ece_s", "ece_u"]].isna().all(axis=None)


def test_the_interpolated_network_is_halfway(digits):
    """Its head is the mean of the two heads, and its outputs are those of a network built here from the mean
    weights.
    """
    spec = digits.specs[0]
    before, after = execute.load_before_after(spec, "cpu")
    start, end = before.state_dict(), after.state_dict()
    after.load_state_dict(
        {name: (start[name] + end[name]) / 2 if end[name].is_floating_point() else end[name] for name in end}
    )
    stored, test = posthoc.interpolated_outputs(digits, spec), digits.outputs(spec, 0, "test")
    assert torch.equal(stored.index, test.index) and torch.equal(stored.labels, test.labels)
    with torch.inference_mode():
        logits = torch.nn.functional.linear(stored.features, after.head.weight, after.head.bias)
    assert torch.allclose(logits, stored.logits, atol=1e-12)
    assert 0 <= accuracies(stored.logits, stored.labels, digits.split(spec))["acc_yy"] <= 1


def test_load_before_after_are_the_two_ends_of_the_run(digits):
    spec = digits.specs[0]
    head = digits.manifest.head
    normalize = normalizer(head.mean, head.std, torch.float64, torch.device("cpu"))
    for model, epoch in zip(execute.load_before_after(spec, "cpu"), (0, spec.epochs)):
        assert not model.training
        stored = digits.outputs(spec, epoch, "test").where(torch.arange(20))
        again = extract(model, load_images(digits.manifest), digits.manifest.labels, stored.index, normalize)
        assert torch.allclose(again.features, stored.features, atol=1e-12) and torch.allclose(
            again.logits, stored.logits, atol=1e-12
        )


def test_costs_count_the_training_of_cross_validation(digits):
    table = posthoc.costs(digits).set_index("method")
    assert (table["seconds"] >= 0).all()
    trains = {"pcv", "pcv_thirds", "transported_cv", posthoc.ALL_CLASSES}
    assert set(table.index[table["extra_training"] > 0]) == trains
    assert 2.8 < table.loc["pcv", "extra_training"] < 3.2, "as many steps as the run, three times"
    assert 1 < table.loc["transported_cv", "extra_training"] < 2, "two thirds of four fifths, three times"


def test_the_upper_bound_learns_the_absent_classes_and_the_shifted_interpolation_its_best_constant(digits):
    wide = posthoc.comparison(digits).pivot(index=["seed", "method"], columns="metric", values="value")
    by_method = wide.groupby("method").mean()
    assert by_method.loc[posthoc.ALL_CLASSES, "acc_uy"] > by_method.loc[ORACLE, "acc_uy"] + 0.1
    assert by_method.loc[posthoc.WISE_SHIFTED, "acc_yy"] > by_method.loc[posthoc.WISE, "acc_yy"]
    assert by_method.loc[posthoc.WISE_SHIFTED, "ausuc"] == pytest.approx(by_method.loc[posthoc.WISE, "ausuc"])
