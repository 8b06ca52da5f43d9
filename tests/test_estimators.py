import pytest
import torch

from analysis_lib import ClassSplit, UserError, shift_logits
from analysis_lib.analysis.estimators import ESTIMATORS, Evidence, estimate_gamma, largest_logit_gap


@pytest.fixture
def evidence(random):
    split = ClassSplit(9, [0, 2, 3, 7])
    labels = torch.tensor(split.seen)[torch.randint(4, (60,), generator=random)]
    return Evidence(torch.randn(60, 9, generator=random), labels, split, torch.randn(60, 9, generator=random))


def test_the_largest_logit_gap_is_its_definition(evidence):
    gaps = [max(row[c] for c in evidence.split.seen if c != y) - max(row[c] for c in evidence.split.absent)
            for row, y in zip(evidence.logits.tolist(), evidence.labels.tolist())]
    assert largest_logit_gap(evidence.logits, evidence.labels, evidence.split) == pytest.approx(sum(gaps) / len(gaps))


@pytest.mark.parametrize("method", ESTIMATORS)
def test_every_estimator_moves_with_a_shift_of_the_absent_logits(evidence, method):
    """An offset that spoils the model is undone: gamma rises by exactly what the absent logits lost."""
    spoiled = Evidence(shift_logits(evidence.logits, evidence.split, -3.0), evidence.labels, evidence.split, evidence.pretrained_logits)
    assert estimate_gamma(method, spoiled) == pytest.approx(estimate_gamma(method, evidence) + 3.0, abs=1e-5)


@pytest.mark.parametrize("method", ["alg_change", "max_gap_change"])
def test_without_fine_tuning_there_is_nothing_to_undo(evidence, method):
    same = Evidence(evidence.logits, evidence.labels, evidence.split, evidence.logits)
    assert estimate_gamma(method, same) == 0
    with pytest.raises(UserError, match="compares with the pre-trained model; give its checkpoint or its logits too"):
        estimate_gamma(method, Evidence(evidence.logits, evidence.labels, evidence.split))


@pytest.mark.parametrize("method", ESTIMATORS)
def test_the_true_logit_and_absent_labels_have_no_say(evidence, method):
    raised = evidence.logits.clone()
    raised[range(60), evidence.labels] += 50
    other = Evidence(raised, evidence.labels, evidence.split, evidence.pretrained_logits)
    assert estimate_gamma(method, other) == pytest.approx(estimate_gamma(method, evidence), abs=1e-5)
    labels = evidence.labels.clone()
    labels[:2] = evidence.split.absent[0]
    with pytest.raises(UserError, match="2 rows have absent labels"):
        estimate_gamma(method, Evidence(evidence.logits, labels, evidence.split, evidence.pretrained_logits))


def test_an_unknown_method_names_the_choices(evidence):
    with pytest.raises(UserError, match="unknown method 'agl' .did you mean 'alg'"):
        estimate_gamma("agl", evidence)
