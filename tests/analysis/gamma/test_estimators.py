import math
from dataclasses import replace

import pytest
import torch

from analysis_lib import ClassSplit, UserError, accuracies, shift_logits
from analysis_lib.analysis.gamma.estimators import (
    AUTO,
    ESTIMATORS,
    HALVES,
    LABELS,
    MATCHED,
    MATCHED_STAND_IN,
    NONE,
    ORACLE,
    PRETRAINED,
    THIRDS,
    UNLABELLED,
    Evidence,
    estimate_gamma,
    offered,
    resolve,
)
from analysis_lib.analysis.gamma.estimators.logit_gap import largest_logit_gap
from analysis_lib.analysis.gamma.estimators.prior_matching import matched_share_gamma
from analysis_lib.analysis.gamma.estimators.pseudo_cv import Fold, best_overall
from analysis_lib.analysis.gamma.estimators.stand_in import stand_in_gamma, stand_in_gaps

OFFERED = offered(frozenset({PRETRAINED}))  # what sees the fine-tuning data alone
COMPARING = [method for method in OFFERED if ESTIMATORS[method].needs]
KINDS = ("extra_training", "transductive", "oracle")
SHARE_TAKERS = [name for name, known in ESTIMATORS.items() if known.takes_share and THIRDS not in known.needs]


@pytest.fixture
def evidence(random):
    split = ClassSplit(9, [0, 2, 3, 7])
    labels = torch.tensor(split.seen)[torch.randint(4, (60,), generator=random)]
    logits, before, target = (torch.randn(60, 9, generator=random) for _ in range(3))
    return Evidence(logits, labels, split, before, target_logits=target)


def test_the_largest_logit_gap_is_its_definition(evidence):
    gaps = [
        max(row[c] for c in evidence.split.seen if c != y) - max(row[c] for c in evidence.split.absent)
        for row, y in zip(evidence.logits.tolist(), evidence.labels.tolist())
    ]
    assert largest_logit_gap(evidence.logits, evidence.labels, evidence.split) == pytest.approx(sum(gaps) / len(gaps))


@pytest.mark.parametrize("method", OFFERED)
def test_every_estimator_moves_with_a_shift_of_the_absent_logits(evidence, method):
    """An offset that spoils the model is undone: gamma rises by exactly what the absent logits lost."""
    spoiled = Evidence(
        shift_logits(evidence.logits, evidence.split, -3.0), evidence.labels, evidence.split, evidence.pretrained_logits
    )
    assert estimate_gamma(method, spoiled) == pytest.approx(estimate_gamma(method, evidence) + 3.0, abs=1e-5)


@pytest.mark.parametrize("method", ["alg_change", "max_gap_change"])
def test_without_fine_tuning_there_is_nothing_to_undo(evidence, method):
    same = Evidence(evidence.logits, evidence.labels, evidence.split, evidence.logits)
    assert estimate_gamma(method, same) == 0


def stand_in_objective(evidence, gamma, share):
    """Expected accuracy where a share of samples is absent: every sample is counted as itself, and as an absent one."""
    split, total = evidence.split, 0.0
    for z, before, y in zip(
        evidence.logits.double().tolist(), evidence.pretrained_logits.double().tolist(), evidence.labels.tolist()
    ):
        shifted = [value + gamma * (c in split.absent) for c, value in enumerate(z)]
        total += (1 - share) * (max(range(len(z)), key=shifted.__getitem__) == y)
        pseudo_absent_logit = before[y] + sum(z[u] - before[u] for u in split.absent) / len(split.absent)
        leads = math.exp(pseudo_absent_logit) / (
            math.exp(pseudo_absent_logit) + math.exp(max(z[u] for u in split.absent))
        )
        total += share * leads * (pseudo_absent_logit + gamma > max(z[s] for s in split.seen if s != y))
    return total / len(evidence.labels)


@pytest.mark.parametrize("share", [None, 0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_stand_in_gamma_has_the_largest_expected_accuracy(evidence, share):
    """Against brute force over a fine grid, and exactly the same value inside its own state."""
    gamma = estimate_gamma("stand_in", replace(evidence, absent_share=share))
    share = 5 / 9 if share is None else share
    best = stand_in_objective(evidence, gamma, share)
    grid = [stand_in_objective(evidence, g / 50, share) for g in range(-400, 401)]
    assert max(grid) == pytest.approx(best) and min(grid) < best - 0.02


@pytest.mark.parametrize("method", SHARE_TAKERS)
def test_without_a_share_that_of_the_classes_is_taken(evidence, method):
    told = {share: estimate_gamma(method, replace(evidence, absent_share=share)) for share in (0.05, 5 / 9, 0.95)}
    assert estimate_gamma(method, evidence) == told[5 / 9]
    assert told[0.05] <= told[5 / 9] <= told[0.95] and told[0.05] < told[0.95], "gamma grows with the share"
    for share in (-0.1, 1.2, math.nan):
        with pytest.raises(UserError, match=f"share of absent samples is {share}; expected a fraction from 0 to 1"):
            estimate_gamma(method, replace(evidence, absent_share=share))


@pytest.mark.parametrize("method", [method for method in OFFERED if method not in SHARE_TAKERS])
def test_other_estimators_take_no_share(evidence, method):
    assert estimate_gamma(method, evidence) == estimate_gamma(method, replace(evidence, absent_share=0.05))


def test_stand_in_gaps_are_their_definition(evidence):
    split, expected = evidence.split, []
    for z, before, y in zip(
        evidence.logits.double().tolist(), evidence.pretrained_logits.double().tolist(), evidence.labels.tolist()
    ):
        change = sum(z[u] - before[u] for u in split.absent) / len(split.absent)
        absent = max(before[y] + change, *(z[u] for u in split.absent))
        expected.append(max(z[s] for s in split.seen if s != y) - absent)
    found = stand_in_gaps(evidence.logits, evidence.pretrained_logits, evidence.labels, split)
    assert found.tolist() == pytest.approx(expected)


def test_stand_ins_find_an_offset_where_samples_are_alike(random):
    """Seen and absent classes of one kind; fine-tuning adds a constant to the seen logits, and gamma takes it back."""
    split = ClassSplit(40, range(20))
    labels = torch.randint(20, (4000,), generator=random)
    before = torch.randn(4000, 40, generator=random)
    before[range(4000), labels] += 3
    after = before + 2.0 * split.seen_mask
    assert estimate_gamma("stand_in", Evidence(after, labels, split, before)) == pytest.approx(2.0, abs=0.4)


def test_auto_takes_what_the_evidence_allows(evidence):
    alone = Evidence(evidence.logits, evidence.labels, evidence.split)
    for given, name in zip((evidence, alone), AUTO[1:]):
        assert estimate_gamma("auto", given) == estimate_gamma(name, given)
    assert resolve("auto", frozenset({THIRDS, PRETRAINED})) == "transported_cv"
    with pytest.raises(UserError, match="transported_cv trains folds; allow them with --folds"):
        resolve("transported_cv", frozenset({PRETRAINED}))
    for method in COMPARING:
        with pytest.raises(
            UserError, match=f"^{method} compares with the pre-trained model; give its checkpoint or its logits too"
        ):
            estimate_gamma(method, alone)
    assert [resolve(method, frozenset()) for method in OFFERED if method not in COMPARING] == ["alg", "max_gap"]


def test_what_is_offered_meets_its_needs_and_does_something():
    assert offered(frozenset()) == ["alg", "max_gap"]
    with_model = ["alg", "alg_change", "max_gap", "max_gap_change", "stand_in", "stand_in_sure"]
    assert offered(frozenset({PRETRAINED})) == with_model
    assert offered(frozenset({PRETRAINED, HALVES})) == [*with_model, "pcv"]
    everything = offered(frozenset({PRETRAINED, HALVES, THIRDS, UNLABELLED, LABELS}))
    assert {*everything, NONE} == ESTIMATORS.keys() and NONE not in everything


def test_kinds_of_estimators():
    kinds = {kind: {name for name, each in ESTIMATORS.items() if getattr(each, kind)} for kind in KINDS}
    assert kinds["extra_training"] == {"pcv", "pcv_thirds", "transported_cv"}
    assert kinds["oracle"] == {ORACLE}
    assert kinds["transductive"] == {MATCHED, MATCHED_STAND_IN}


def test_auto_matches_a_share_only_where_it_is_known(evidence):
    holds = evidence.holds
    assert resolve("auto", holds) == "stand_in" and resolve("auto", holds, knows_share=True) == MATCHED_STAND_IN
    assert resolve("auto", frozenset({UNLABELLED}), knows_share=True) == MATCHED
    assert resolve("matched_share", holds) == MATCHED and resolve("matched_stand_in", holds) == MATCHED_STAND_IN
    told = replace(evidence, absent_share=0.4)
    assert estimate_gamma("auto", evidence) == estimate_gamma("stand_in", evidence)
    both = [estimate_gamma(method, told) for method in (MATCHED, "stand_in")]
    assert estimate_gamma("auto", told) == estimate_gamma(MATCHED_STAND_IN, told) == pytest.approx(sum(both) / 2)


def test_folds_and_labels_are_used_where_they_are_given(evidence, random):
    """Each kind of folds by its own estimator, gamma_ALG where no fold has a best gamma; the oracle scores highest."""
    labels, split = torch.arange(40) % 4, ClassSplit(4, [1, 3])
    good = torch.rand(40, 4, generator=random) + 2 * torch.eye(4)[labels]
    folds = [Fold(shift_logits(good, split, -g), good, labels, split, labels < 9, labels) for g in (2.0, 4.0)]
    halves, thirds = ([fold] for fold in folds)
    given = replace(evidence, halves=halves, thirds=thirds, target_labels=torch.arange(60) % 9)
    assert estimate_gamma("pcv", given) == best_overall(folds[0]) != best_overall(folds[1])
    assert estimate_gamma("pcv_thirds", given) == best_overall(folds[1])
    ruined = [replace(folds[0], logits=-good)]
    alg = estimate_gamma("alg", evidence)
    assert estimate_gamma("pcv", replace(given, halves=ruined)) == alg
    assert estimate_gamma("pcv_thirds", replace(given, thirds=ruined)) == alg
    assert estimate_gamma(NONE, given) == 0

    def scored(gamma):
        shifted = shift_logits(given.target_logits, given.split, gamma)
        return accuracies(shifted, given.target_labels, given.split)["acc_yy"]

    assert scored(estimate_gamma(ORACLE, given)) == max(scored(g / 50) for g in range(-400, 401))


@pytest.mark.parametrize("method", [method for method in OFFERED if not method.startswith("stand_in")])
def test_the_true_logit_and_absent_labels_have_no_say(evidence, method):
    raised = evidence.logits.clone()
    raised[range(60), evidence.labels] += 50
    other = Evidence(raised, evidence.labels, evidence.split, evidence.pretrained_logits)
    assert estimate_gamma(method, other) == pytest.approx(estimate_gamma(method, evidence), abs=1e-5)
    labels = evidence.labels.clone()
    labels[:2] = evidence.split.absent[0]
    with pytest.raises(UserError, match="2 rows have absent labels"):
        estimate_gamma(method, Evidence(evidence.logits, labels, evidence.split, evidence.pretrained_logits))


def test_stand_ins_refuse_absent_labels(evidence):
    labels = evidence.labels.clone()
    labels[:2] = evidence.split.absent[0]
    with pytest.raises(UserError, match="2 rows have absent labels"):
        estimate_gamma("stand_in", Evidence(evidence.logits, labels, evidence.split, evidence.pretrained_logits))


def test_what_no_finite_gamma_can_follow_from_is_refused(evidence):
    spoiled = evidence.pretrained_logits.clone()
    spoiled[3, 1] = torch.nan
    with pytest.raises(UserError, match="logits hold NaN, first in row 3"):
        estimate_gamma("stand_in", Evidence(evidence.logits, evidence.labels, evidence.split, spoiled))
    masked = evidence.logits.clone()
    masked[:, evidence.split.absent[0]] = -torch.inf
    with pytest.raises(UserError, match="alg finds no finite gamma .inf.: some logits are infinite"):
        estimate_gamma("alg", Evidence(masked, evidence.labels, evidence.split))


def test_an_unknown_method_names_the_choices(evidence):
    with pytest.raises(UserError, match="unknown method 'agl' .did you mean 'alg'"):
        estimate_gamma("agl", evidence)


@pytest.mark.parametrize("share", [None, 0.0, 0.31, 0.5, 1.0])
def test_the_matched_share_is_what_is_predicted(evidence, share):
    """Every share can be reached to half a sample where gaps differ, and no label is asked for."""
    split, logits = evidence.split, evidence.logits
    gamma = matched_share_gamma(logits, split, share)
    predicted = (~split.is_seen(shift_logits(logits, split, gamma).argmax(1))).double().sum().item()
    assert abs(predicted - 60 * (5 / 9 if share is None else share)) <= 0.5
    assert matched_share_gamma(shift_logits(logits, split, -3.0), split, share) == pytest.approx(gamma + 3.0, abs=1e-5)
    assert matched_share_gamma(logits.flip(0), split, share) == gamma


def test_samples_that_tie_change_sides_together():
    split = ClassSplit(2, [0])
    logits = torch.tensor([[1.0, 0.0]] * 3 + [[2.0, 0.0]])
    # 0, 3/4 and 1 can be had
    reached = [matched_share_gamma(logits, split, share) for share in (0.3, 0.375, 0.4, 0.8, 0.9)]
    assert reached == [0.0, 0.0, 1.5, 1.5, 3.0]


def test_the_matched_share_finds_an_offset_exactly_where_groups_part(random):
    """Seen samples lead by 5, absent ones by -5, then the absent logits lose 20: with the true share nobody is on the
    wrong side.
    """
    split = ClassSplit(10, range(4))
    labels = torch.randint(10, (500,), generator=random)
    logits = torch.zeros(500, 10).scatter(1, labels[:, None], 5.0)
    spoiled = shift_logits(logits, split, -20.0)
    gamma = matched_share_gamma(spoiled, split, (labels >= 4).double().mean().item())
    assert 15 < gamma < 25 and (shift_logits(spoiled, split, gamma).argmax(1) == labels).all()


def test_samples_that_no_gamma_moves_keep_their_side():
    """Two samples stay seen and one absent whatever gamma; the others fill up to the wanted share."""
    split = ClassSplit(2, [0])
    logits = torch.tensor([[0.0, -torch.inf]] * 2 + [[-torch.inf, 0.0]] + [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    reached = {share: matched_share_gamma(logits, split, share) for share in (0.0, 1 / 6, 0.5, 1.0)}
    assert reached == {0.0: 0.0, 1 / 6: 0.0, 0.5: 2.5, 1.0: 4.0}
    for row in ([torch.nan, 0.0], [-torch.inf, -torch.inf]):
        with pytest.raises(UserError, match="the target logits hold NaN, or infinities"):
            matched_share_gamma(torch.cat([logits, torch.tensor([row])]), split)


def test_stand_ins_by_themselves_refuse_what_no_finite_gamma_follows_from(evidence):
    masked = [
        part.index_fill(1, torch.tensor(evidence.split.absent), -torch.inf)
        for part in (evidence.logits, evidence.pretrained_logits)
    ]
    with pytest.raises(UserError, match="stand_in finds no finite gamma"):
        stand_in_gamma(*masked, evidence.labels, evidence.split)


def test_the_matched_share_says_what_does_not_fit(evidence):
    with pytest.raises(UserError, match=r"shape \(60, 9\); expected \(N, 4\)"):
        matched_share_gamma(evidence.logits, ClassSplit(4, [0]))
    with pytest.raises(UserError, match="at least one row"):
        matched_share_gamma(evidence.logits[:0], evidence.split)
    with pytest.raises(UserError, match="share of absent samples is 1.2; expected a fraction"):
        matched_share_gamma(evidence.logits, evidence.split, 1.2)
