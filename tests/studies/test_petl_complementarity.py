import pandas as pd
import pytest
import torch

from analysis_lib import accuracies
from analysis_lib.analysis.gamma.curve import seen_absent_curve, shift_logits
from analysis_lib.analysis.gamma.estimators import NONE
from analysis_lib.analysis.metrics.complementarity import complementarity
from analysis_lib.analysis.metrics.ensembles import ENSEMBLES, mean_probabilities
from analysis_lib.analysis.metrics.feature_space import linear_cka
from analysis_lib.core.class_split import ClassSplit
from analysis_lib.runs.run_set import PRE_TRAINED
from analysis_lib.studies import petl_complementarity, petl_ensembles
from analysis_lib.studies.fine_tuning_methods import by_method, treatments
from analysis_lib.studies.petl_complementarity import STAND_IN, Members

SEEDS = (0, 1)


@pytest.fixture
def members():
    """Three networks for two seeds, which favour the seen classes of their seed by constants of their own."""
    labels = torch.arange(6).repeat(20)
    hint = 2 * torch.nn.functional.one_hot(labels, 6).double()
    found = {}
    for seed, seen in zip(SEEDS, ([0, 1, 2], [1, 3])):
        random = torch.Generator().manual_seed(seed)
        split, gammas = ClassSplit(6, seen), {"first": 0.5, "second": 1.5, "third": 3.0}
        logits = {}
        for name, gamma in gammas.items():
            noise = torch.randn(len(labels), 6, generator=random, dtype=torch.float64)
            logits[name] = shift_logits(hint + noise, split, -gamma)
        found[seed] = Members(logits, gammas, labels, split)
    return found


def test_members_are_the_test_outputs_with_their_own_stand_in_gamma(digits):
    networks = {}
    for spec in digits.specs:
        softmax = by_method(spec, "seen_softmax")
        networks[spec.seed] = {PRE_TRAINED: (spec, 0), "finetune": (spec, spec.epochs)}
        networks[spec.seed]["seen_softmax"] = (softmax, softmax.epochs)
    members = petl_complementarity.open_members(digits, networks)
    for seed, named in networks.items():
        own = members[seed]
        assert list(own.logits) == list(named) and own.treated(NONE) == own.logits
        for name, (run, epoch) in named.items():
            test = digits.outputs(run, epoch, "test")
            assert torch.equal(own.logits[name], test.logits) and torch.equal(own.labels, test.labels)
            gamma = treatments(digits, run, epoch)[STAND_IN] if epoch else 0.0
            assert own.gammas[name] == gamma
            assert torch.equal(own.treated(STAND_IN)[name], shift_logits(test.logits, digits.split(run), gamma))
        assert len(set(own.gammas.values())) == 3
    assert not petl_complementarity.pairs(members).query("group == 'all'")["value"].isna().any()


def test_pairs_are_measured_with_each_treatment(members):
    table = petl_complementarity.pairs(members)
    assert list(table.columns) == ["seed", "a", "b", "treatment", "group", "metric", "value"]
    assert not table.duplicated(["seed", "a", "b", "treatment", "group", "metric"]).any()
    assert set(table["seed"]) == set(SEEDS) and set(table["treatment"]) == {NONE, STAND_IN}
    found = table.set_index(["seed", "treatment", "a", "b", "group", "metric"])["value"].sort_index()
    for seed, own in members.items():
        half = len(own.labels) // 2
        shifted = complementarity(own.treated(STAND_IN), own.labels, own.split, half)
        for row in shifted.itertuples():
            assert found[seed, STAND_IN, row.a, row.b, row.group, row.metric] == pytest.approx(row.value, nan_ok=True)
        a, b = (own.logits[name].argmax(1) for name in ("first", "third"))
        agreement = (a == b).double().mean().item()
        assert found[seed, NONE, "first", "third", "all", "agreement"] == pytest.approx(agreement)


def test_means_of_pairs_are_those_over_seeds_and_their_intervals_leave_out_classes(members):
    measured = petl_complementarity.pairs(members)
    means = petl_complementarity.pair_means(members, measured)
    keys = ["a", "b", "treatment", "group", "metric"]
    expected = measured.groupby(keys)["value"].apply(lambda values: values.mean(skipna=False))
    assert len(means) == len(expected)
    for row in means.itertuples():
        mean = expected[row.a, row.b, row.treatment, row.group, row.metric]
        assert row.mean == pytest.approx(mean, nan_ok=True)
        assert row.interval == ("seeds" if row.metric == "cka" else "seeds and classes") or pd.isna(row.mean)
    sizes = means.groupby("group")["n_samples"].unique()
    n = len(members[0].labels)
    assert sizes["all"].tolist() == [n] and sizes["most_confident"].tolist() == [n // 2]
    fewest = min(int(own.split.is_seen(own.labels).sum()) for own in members.values())
    assert sizes["seen"].tolist() == [fewest] and set(means["n_seeds"]) == {2}


def test_the_class_part_of_an_interval_is_the_jackknife_of_the_ratio():
    """One seed: the interval is the jackknife over classes alone, here with overlaps computed without each class."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(6).repeat(20)
    hint = torch.nn.functional.one_hot(labels, 6).double()
    logits = {name: hint + torch.randn(120, 6, generator=random, dtype=torch.float64) for name in "ab"}
    own = Members(logits, {"a": 0.5, "b": -0.5}, labels, ClassSplit(6, [0, 1, 2]))
    means = petl_complementarity.pair_means({0: own}, petl_complementarity.pairs({0: own}))
    chosen = means.query("treatment == 'none' and group == 'all'").set_index("metric")
    wrong = torch.stack([each.argmax(1) != labels for each in logits.values()])

    def overlap(rows):
        return (wrong[:, rows].all(0).sum() / wrong[:, rows].any(0).sum()).item()

    left_out = torch.tensor([overlap(labels != c) for c in range(6)], dtype=torch.float64)
    whole = overlap(labels >= 0)
    error = (5 / 6 * (left_out - whole).square().sum()).sqrt().item()
    row = chosen.loc["error_overlap"]
    assert row["mean"] == pytest.approx(whole) and row["interval"] == "classes"
    assert (row["high"] - row["low"]) / 2 == pytest.approx(2.570582 * error, rel=1e-5)
    said = [each.argmax(1) for each in logits.values()]
    by_class = [
        sum(
            ((said[0][labels == c] == k).double().mean() * (said[1][labels == c] == k).double().mean())
            for k in range(6)
        )
        for c in range(6)
    ]
    assert chosen.loc["agreement_null", "mean"] == pytest.approx(sum(by_class).item() / 6)
    centred = [each - each.mean(1, keepdim=True) for each in logits.values()]
    assert chosen.loc["cka", "mean"] == pytest.approx(linear_cka(*centred))
    assert pd.isna(chosen.loc["cka", "low"]) and chosen.loc["cka", "interval"] == ""


def test_ensembles_are_measured_with_each_treatment(members):
    table = petl_ensembles.ensemble_table(members)
    assert list(table.columns) == ["seed", "ensemble", "oracle", "treatment", "group", "metric", "value"]
    found = table.set_index(["seed", "treatment", "ensemble", "group", "metric"])["value"].sort_index()
    for seed, own in members.items():
        for treatment in (NONE, STAND_IN):
            scores = torch.stack(list(own.treated(treatment).values())).softmax(2).mean(0)
            expected = accuracies(scores, own.labels, own.split)
            assert found[seed, treatment, "mean_probabilities", "absent", "accuracy"] == pytest.approx(
                expected["acc_uy"]
            )
            singles = [accuracies(each, own.labels, own.split)["acc_yy"] for each in own.treated(treatment).values()]
            assert found[seed, treatment, "best_single", "all", "accuracy"] == pytest.approx(max(singles))
        for ensemble in ("mean_logits", "mean_probabilities", "vote"):
            none, shifted = (found[seed, each, ensemble, "absent", "accuracy"] for each in (NONE, STAND_IN))
            assert shifted > none + 0.1, "the constants are undone"


def test_numbers_of_ensembles_are_the_means_of_the_table_and_gains_are_their_differences(members):
    table = petl_ensembles.ensemble_table(members).query("metric == 'accuracy'")
    means = table.groupby(["ensemble", "treatment", "group"])["value"].mean()
    groups = {"acc_yy": "all", "acc_sy": "seen", "acc_uy": "absent"}
    numbers = petl_ensembles.ensemble_numbers(members)
    levels = petl_ensembles.ensemble_levels(numbers)
    known = levels.set_index(["ensemble", "treatment", "metric"])["mean"]
    assert len(levels) == 2 * (3 * len(ENSEMBLES) + 4)
    for row in levels[levels["metric"] != "ausuc"].itertuples():
        assert row.mean == pytest.approx(means[row.ensemble, row.treatment, groups[row.metric]])
        assert row.low <= row.mean <= row.high and row.oracle == ENSEMBLES[row.ensemble].oracle
    gains = petl_ensembles.ensemble_gains(numbers)
    assert set(gains["over"]) == {"best_single", "mean_single", NONE}
    for row in gains.itertuples():
        other = (row.ensemble, NONE) if row.over == NONE else (row.over, row.treatment)
        expected = known[row.ensemble, row.treatment, row.metric] - known[(*other, row.metric)]
        assert row.mean == pytest.approx(expected, abs=1e-12)
        assert row.oracle == (row.over == "best_single" or ENSEMBLES[row.ensemble].oracle)
    assert (gains.query("over == 'best_single' and ensemble == 'any_correct' and metric == 'acc_yy'")["mean"] > 0).all()


def test_areas_are_those_of_the_curves(members):
    levels = petl_ensembles.ensemble_levels(petl_ensembles.ensemble_numbers(members))
    found = levels.query("metric == 'ausuc'").set_index(["ensemble", "treatment"])["mean"]
    for treatment in (NONE, STAND_IN):
        ensemble, single, best = [], [], []
        for own in members.values():
            logits = list(own.treated(treatment).values())
            scores = mean_probabilities(torch.stack(logits))
            ensemble.append(seen_absent_curve(scores, own.labels, own.split).ausuc)
            areas = [seen_absent_curve(each, own.labels, own.split).ausuc for each in logits]
            right = [accuracies(each, own.labels, own.split)["acc_yy"] for each in logits]
            single.append(sum(areas) / len(areas))
            best.append(areas[right.index(max(right))])
        assert found["mean_probabilities", treatment] == pytest.approx(sum(ensemble) / 2)
        assert found["mean_single", treatment] == pytest.approx(sum(single) / 2)
        assert found["best_single", treatment] == pytest.approx(sum(best) / 2)
    assert found["mean_logits", NONE] == pytest.approx(found["mean_logits", STAND_IN]), "shifts add up to one shift"
