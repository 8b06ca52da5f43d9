"""Parameter-efficient methods compared: which runs there are, and what is measured of them."""

from dataclasses import replace

import pytest
import torch

from analysis_lib.analysis.gamma.estimators import NONE, ORACLE
from analysis_lib.analysis.metrics.accuracy import accuracies
from analysis_lib.benchmarks import BENCHMARKS
from analysis_lib.methods import METHODS, SELECTING, SPARING
from analysis_lib.models.petl import TECHNIQUES
from analysis_lib.runs.plan import plan
from analysis_lib.runs.run_set import PRE_TRAINED
from analysis_lib.studies import fine_tuning_methods, method_choice, open_study, petl, petl_choice
from analysis_lib.studies.petl_claims import claims_about

SEEDS = [0, 1, 2]


@pytest.fixture(scope="module")
def runs(digits_root):
    return open_study("petl", "digits", "smoke", SEEDS)


def test_full_compares_every_technique_on_a_transformer_and_those_for_any_network_elsewhere():
    every = set(TECHNIQUES) | set(SELECTING) | {"linear_probe", "finetune"}
    assert set(petl.compared("glyphs_vit", "full")) == every
    on_any = {"linear_probe", "finetune", "bitfit_head", "normalisation", "selected", "head2toe"}
    assert set(petl.compared("digits_cnn", "full")) == on_any
    assert set(petl.compared("vgg11", "full")) == on_any - {"normalisation"}, "it has no normalisation"
    unusual = set(petl.compared("vit_medium_patch16_gap_240", "full"))  # no LayerNorm of known output before its head
    assert unusual == every - {"vqt", "vqt_select"}
    for model in ("glyphs_vit", "digits_cnn"):
        assert set(petl.compared(model, "smoke")) == set(petl.compared(model, "full")) & set(petl.SHORT)
    assert not set(TECHNIQUES) & set(SPARING), "the other study keeps its methods"


def test_a_method_has_the_benchmarks_optimiser_and_its_own_rate():
    (spec,) = plan("digits", "smoke", [0])
    assert petl.by_method(spec, "finetune") is spec, "without chosen rates it is the run of the other studies"
    known = BENCHMARKS["glyphs_vit"]
    vit = replace(spec, benchmark="glyphs_vit", model="glyphs_vit")
    for name, rate in known.petl_rates.items():
        run = petl.by_method(vit, name)
        assert (run.method, run.lr, run.optimizer, run.warmup) == (name, rate, "adamw", 0.1)
        assert run == replace(petl.by_method(vit, name, 0.5), lr=rate)
    assert set(known.petl_rates) == set(petl.COMPARED) and set(known.petl_rates.values()) <= set(petl_choice.RATES)


def test_in_full_the_short_list_has_folds():
    full = petl.specs("digits", "full", [0])
    names = petl.compared("digits_cnn", "full")
    assert set(plan("digits", "full", [0])) <= set(full)
    assert len(full) == len(set(full)) and {spec.method for spec in full} == set(names)
    folds = [spec.method for spec in full if spec.validation]
    assert sorted(folds) == sorted(3 * [name for name in names if name in petl.SHORT])
    assert {spec.method for spec in petl.specs("digits", "smoke", [0]) if spec.validation} == {petl.FULL}


def test_the_choice_never_sees_an_absent_class_or_a_reported_seed():
    chosen = petl_choice.specs("digits", "full", [100])
    (spec,) = plan("digits", "full", [100])
    names = petl.compared("digits_cnn", "full")
    assert len(chosen) == len(names) * len(petl_choice.RATES) and all(each.validation for each in chosen)
    assert {each.lr for each in chosen} == set(petl_choice.RATES) and {each.method for each in chosen} == set(names)
    (own,) = {each.seen for each in chosen}
    assert own == method_choice.third_specs(spec)[0].seen and len(own) < 5


def test_networks_are_measured_on_their_own_outputs(runs):
    table = fine_tuning_methods.network_measures(runs, petl.networks("smoke"))
    spec = runs.specs[1]
    assert list(petl.networks("smoke")(spec)) == [PRE_TRAINED, *petl.compared(spec.model, "smoke")]
    run = petl.by_method(spec, "bitfit_head")
    test = runs.outputs(run, run.epochs, "test")
    plain = table.query("seed == @spec.seed and method == 'bitfit_head' and treatment == @NONE").set_index("metric")
    for metric, value in accuracies(test.logits, test.labels, runs.split(spec)).items():
        assert plain.loc[metric, "value"] == pytest.approx(value)


def test_the_networks_before_training_are_one(runs):
    """Epoch 0 is the pre-trained network, whatever a method inserts before it trains."""
    spec = runs.specs[0]
    first = runs.outputs(spec, 0, "test").logits
    for run in petl.by_name(spec, "smoke").values():
        assert torch.equal(runs.outputs(run, 0, "test").logits, first)


def test_regrets_are_those_of_the_curve(runs):
    table = petl.estimates(runs, "smoke")
    by_estimator = table.set_index(["seed", "method", "estimator"])
    assert not {"pcv"} & set(table["estimator"]), "halves are no runs of the study"
    full = table[table["method"] == petl.FULL]
    assert (full["estimator"] == "transported_cv").sum() == len(runs.specs)
    assert (table["regret"] >= 0).all() and (by_estimator.xs(ORACLE, level="estimator")["regret"] == 0).all()
    spec = runs.specs[0]
    run = petl.by_method(spec, "linear_probe")
    test = runs.outputs(run, run.epochs, "test")
    found = by_estimator.loc[spec.seed, "linear_probe", NONE]
    plain = accuracies(test.logits, test.labels, runs.split(spec))["acc_yy"]
    assert found["gamma"] == 0 and found["acc_yy"] == pytest.approx(plain)


def test_wise_curves_begin_at_the_pre_trained_network_and_end_at_the_trained_one(runs):
    table = petl.wise_curves(runs, "smoke")
    assert set(table["method"]) == set(petl.compared("digits_cnn", "smoke")) - set(petl.WITHOUT_BETWEEN)
    plain = table[table["treatment"] == NONE].set_index(["seed", "method", "alpha"])["acc_yy"]
    for spec in runs.specs:
        for name in table["method"].unique():
            run = petl.by_method(spec, name)
            for alpha, epoch in ((0.0, 0), (1.0, run.epochs)):
                test = runs.outputs(run, epoch, "test")
                wanted = accuracies(test.logits, test.labels, runs.split(spec))["acc_yy"]
                assert plain.loc[spec.seed, name, alpha] == pytest.approx(wanted)


def test_claims_ask_the_same_of_every_method():
    found = claims_about(list(petl.COMPARED))
    families = {claim.family for claim in found}
    for name in petl.COMPARED:
        own = [claim for claim in found if claim.quantity.a.checkpoint == name]
        assert {claim.family for claim in own} == ({"one constant", "features"} if name == petl.FULL else families)
        assert all(claim.statement.startswith(petl.TITLES[name]) for claim in own)
    assert len({claim.statement for claim in found}) == len(found) == 5 * len(petl.COMPARED) - 3


def test_every_method_is_named():
    assert set(petl.TITLES) == set(petl.COMPARED) <= set(METHODS)
    assert len(set(petl.TITLES.values())) == len(petl.TITLES)
