import pandas as pd
import pytest
import torch

from analysis_lib.analysis.gamma.curve import seen_absent_curve, shift_logits
from analysis_lib.analysis.gamma.estimators import ORACLE
from analysis_lib.analysis.metrics.accuracy import accuracies
from analysis_lib.analysis.stats.claims import State
from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.methods import METHODS, SPARING
from analysis_lib.models.batchnorm import batchnorms
from analysis_lib.models.weight_space import interpolate
from analysis_lib.runs.execute import load_before_after, state
from analysis_lib.studies import (
    calibration,
    fine_tuning_methods,
    method_choice,
    method_costs,
    method_differences,
    wise_curve,
)


@pytest.fixture
def cells(digits):
    return fine_tuning_methods.open_methods("digits", "smoke", [0, 1], "cpu")


def test_plain_fine_tuning_is_the_run_of_the_other_studies(digits, cells):
    (runs,) = cells.values()
    assert runs.specs == digits.specs
    measured = fine_tuning_methods.measures(cells, "smoke").query("method == 'finetune'")
    known = (
        calibration.calibrations(digits).query("checkpoint == 'fine-tuned'").set_index(["seed", "method"]).sort_index()
    )
    for row in measured.query("metric in ['acc_sy', 'acc_uy', 'acc_yy'] and treatment != 'ncm (oracle)'").itertuples():
        assert row.value == known.loc[(row.seed, row.treatment), row.metric]


def test_measures_are_those_of_each_networks_own_outputs(cells):
    (runs,) = cells.values()
    measured = (
        fine_tuning_methods.measures(cells, "smoke").set_index(["seed", "method", "treatment", "metric"]).sort_index()
    )
    assert measured.index.is_unique and set(measured.index.unique("method")) > set(fine_tuning_methods.SHORT)
    for spec in runs.specs:
        split = runs.split(spec)
        for name in fine_tuning_methods.SHORT:
            run = fine_tuning_methods.by_method(spec, name)
            test = runs.outputs(run, run.epochs, "test")
            curve = seen_absent_curve(test.logits, test.labels, split)
            value = measured.loc[(spec.seed, name)]["value"]
            assert value["none", "ausuc"] == value["stand_in", "ausuc"] == curve.ausuc
            assert value[ORACLE, "acc_yy"] == curve.acc_yy.max().item()
            shifted = shift_logits(test.logits, split, value["stand_in", "gamma"])
            assert value["stand_in", "acc_uy"] == accuracies(shifted, test.labels, split)["acc_uy"]
            assert value["none", "acc_uu"] == value[ORACLE, "acc_uu"]
    assert measured.groupby("treatment")["oracle"].first().to_dict()[ORACLE]
    assert not measured.groupby("treatment")["oracle"].first().to_dict()["stand_in"]


def test_differences_are_those_of_the_means_and_claims_use_them(cells):
    measured = fine_tuning_methods.measures(cells, "smoke")
    numbers = method_differences.method_numbers(cells, "smoke")
    found = method_differences.differences(numbers)
    means = measured.groupby(["method", "treatment", "metric"])["value"].mean()
    for row in found.itertuples():
        expected = means[row.method, row.treatment, row.metric] - means["finetune", row.treatment, row.metric]
        assert row.mean == pytest.approx(expected, abs=1e-12)
        assert row.low <= row.mean <= row.high
    assert {"acc_sy", "acc_uy", "acc_yy", "ausuc"} == set(found["metric"])
    assert "finetune" not in set(found["method"])
    judged = method_differences.verdicts(numbers)
    others = [name for name in fine_tuning_methods.SHORT if name != "finetune"]
    assert judged.groupby("family").size().to_dict() == dict.fromkeys(judged["family"].unique(), len(others))
    area = judged[judged["family"] == "curve"].set_index("claim")["mean"]
    own = found.query("metric == 'ausuc'").set_index("method")["mean"]
    for name in others:
        statement = f"plain fine-tuning has a higher seen-absent curve (AUSUC) than {METHODS[name].title}"
        assert area[statement] == pytest.approx(-own[name])


def test_a_claim_can_fail():
    """Plain fine-tuning that is worse in every class and seed loses the claim, and one that is better wins it."""
    labels = torch.arange(20).repeat_interleave(5)
    for sign, expected in ((1, "holds"), (-1, "does not hold")):
        names = [(State(name, treatment), "acc_yy") for name in ("finetune", "l2sp") for treatment in ("none", ORACLE)]
        names += [(State("finetune", "stand_in"), "acc_yy")]
        random = torch.Generator().manual_seed(0)
        seeds = []
        for _ in range(3):
            noise = 0.02 * torch.rand(len(labels), dtype=torch.float64, generator=random)
            seeds.append({name: 0.5 + sign * 0.2 * (name[0].checkpoint == "finetune") + noise for name in names})
        areas = [
            {State("finetune"): (s, s), State("l2sp"): (s - sign * 0.1,) * 2}
            for s in (seed[names[0]] for seed in seeds)
        ]
        numbers = method_differences.sample_numbers(seeds, areas, labels)
        # differences without any spread have no interval, so a little is added
        numbers = {0.1: jittered(numbers)}
        assert set(method_differences.verdicts(numbers)["verdict"]) == {expected}


def jittered(numbers):
    random = torch.Generator().manual_seed(1)
    for block in (numbers.whole, numbers.without):
        block += 1e-4 * torch.rand(block.shape, dtype=torch.float64, generator=random)
    return numbers


def test_drift_of_the_control_is_statistics_only(cells):
    found = fine_tuning_methods.drift(cells, "smoke").pivot_table("value", "method", "metric")
    assert found.loc["BatchNorm only", "weights"] == 0 < found.loc["BatchNorm only", "displacement_u"]
    assert (found.loc[list(fine_tuning_methods.SHORT), "weights"] > 0).all()
    assert found.loc["wise", "weights"] < found.loc["finetune", "weights"], "halfway back"


def test_wise_ends_at_the_two_networks_and_interpolates_weights_between(cells):
    (runs,) = cells.values()
    curve = wise_curve.wise_curve(cells, "smoke").set_index(["seed", "alpha", "treatment"]).sort_index()
    spec = runs.specs[0]
    for alpha, epoch in ((0.0, 0), (1.0, spec.epochs)):
        assert curve.loc[(0, alpha, "none"), "acc_uy"] == runs.curve(spec, epoch).at(0.0).acc_uy
        assert curve.loc[(0, alpha, ORACLE), "acc_yy"] == runs.curve(spec, epoch).best().acc_yy
    before, after = load_before_after(spec, "cpu")
    # by hand: the weights halfway, BatchNorm on the statistics of all fine-tuning images at once and not augmented
    after.load_state_dict(interpolate(before.state_dict(), after.state_dict(), 0.5))
    own, test = runs.fine_tuning_outputs(spec, 0), runs.outputs(spec, 0, "test")
    prepared = runs.prepared(spec, own.index, torch.device("cpu"))
    images = load_images(runs.manifest)
    for layer in batchnorms(after):
        layer.momentum = 1.0
    after.train()(prepared.normalize(images[own.index]))
    after.eval()
    with torch.no_grad():
        logits = after(prepared.normalize(images[test.index]))
    by_hand = accuracies(logits, test.labels, runs.split(spec))
    assert curve.loc[(0, 0.5, "none"), "acc_yy"] == pytest.approx(by_hand["acc_yy"], abs=0.08), "up to random crops"
    assert (curve["acc_yy"].xs(ORACLE, level="treatment") >= curve["acc_yy"].xs("none", level="treatment")).all()


def test_costs_are_relative_to_plain_fine_tuning(cells):
    spec = next(iter(cells.values())).specs[0]
    runs = {name: fine_tuning_methods.by_method(spec, name) for name in ("finetune", "linear_probe")}
    table = method_costs.costs(runs, "cpu").set_index("method")
    manifest = load_manifest(spec.benchmark)
    head = 65 * len(manifest.class_names)  # 64 features and a bias
    assert table.loc["linear_probe", "trainable"] == head < table.loc["finetune", "trainable"]
    assert table.loc["finetune", "times"] == 1 and table.loc["finetune", "extra_mb"] == 0
    assert (table[["seconds", "memory_mb"]] > 0).all(axis=None)


def test_full_compares_every_method_and_most_at_a_second_learning_rate(digits_root, digits):
    full = fine_tuning_methods.specs("digits", "full", [0])
    assert len({spec.run_id for spec in full}) == len(full)
    trained = {spec.method for spec in full}
    assert trained == set(SPARING)
    for name in trained - {"batchnorm_statistics", "finetune"}:
        rates = {2e-2} if name in fine_tuning_methods.AT_ONE_RATE else {2e-2, 5e-3}
        assert {spec.lr for spec in full if spec.method == name and not spec.validation} == rates
    assert {spec.epochs for spec in full if spec.method not in ("batchnorm_statistics",)} == {10}, "equal steps"


def test_the_choice_is_made_on_seen_classes_alone_and_by_the_area(digits_root, monkeypatch):
    monkeypatch.setenv("FTC_ROOT", str(digits_root))
    specs = method_choice.specs("digits", "smoke", [0])
    assert all(spec.validation and spec.seen for spec in specs), "images of seen classes, some of which are left out"
    counts = pd.Series([spec.method for spec in specs if spec.method != "finetune"]).value_counts()
    assert counts.nunique() == 1, "every method has as many values"
    scored = pd.DataFrame(
        [
            (seed, "l2sp", "weight", weight, metric, score + 0.01 * seed)
            for seed in (0, 1)
            for weight, score in ((0.1, 0.3), (1.0, 0.5))
            for metric in ("ausuc", "acc_yy")
        ],
        columns=["seed", "method", "option", "value", "metric", "score"],
    )
    chosen = method_choice.choose(scored)
    assert chosen.query("chosen")["value"].tolist() == [1.0] and chosen["n"].tolist() == [2, 2]
    assert chosen["ausuc"].tolist() == pytest.approx([0.305, 0.505])


def test_scores_of_a_candidate_see_no_absent_class(digits, monkeypatch):
    """The runs of the choice that the other studies have made: plain fine-tuning without the first third."""
    spec = digits.specs[0]
    monkeypatch.setattr(method_choice, "candidates", lambda spec: [spec])
    assert all(state(each.run_id) == "done" for each in method_choice.specs("digits", "smoke", [0]))
    scored = method_choice.scores(digits).set_index(["seed", "metric"])["score"]
    (fold_spec,) = method_choice.third_specs(spec)[:1]
    split = digits.split(spec)
    left_out = set(split.seen) - set(digits.split(fold_spec).seen)
    right = total = 0
    for part in ("train", "test"):
        after = digits.outputs(fold_spec, fold_spec.epochs, part)
        rows = torch.isin(after.labels, torch.tensor(sorted(left_out)))
        among_seen = after.logits[rows][:, list(split.seen)].argmax(1)
        right += (torch.tensor(split.seen)[among_seen] == after.labels[rows]).sum().item()
        total += int(rows.sum())
    assert scored[0, "acc_uy"] == pytest.approx(right / total)
