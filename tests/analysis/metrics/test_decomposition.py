import pytest
import torch

from analysis_lib import ClassSplit, accuracies, shift_logits, softmax_decomposition


@pytest.fixture
def problem(random):
    logits = 3 * torch.randn(300, 9, generator=random, dtype=torch.float64)
    return logits, torch.randint(9, (300,), generator=random), ClassSplit(9, [0, 3, 4, 8])


def test_the_parts_multiply_to_the_softmax(problem):
    logits, labels, split = problem
    dec = softmax_decomposition(logits, labels, split)
    p = logits.softmax(1)
    assert torch.allclose(dec.p_absent, p[:, list(split.absent)].sum(1))
    p_group = torch.where(dec.seen, 1 - dec.p_absent, dec.p_absent)
    assert torch.allclose(p_group * dec.p_within, p[range(300), labels])


def test_a_shift_moves_the_odds_by_gamma_and_nothing_else(problem):
    logits, labels, split = problem
    before, after = (softmax_decomposition(z, labels, split) for z in (logits, shift_logits(logits, split, 1.7)))
    assert torch.allclose(before.p_within, after.p_within)
    assert torch.equal(before.right_within, after.right_within)
    assert torch.allclose(
        after.p_absent.logit() - before.p_absent.logit(), torch.full((300,), 1.7, dtype=torch.float64)
    )


def test_wrong_group_is_what_separates_the_accuracies(problem):
    logits, labels, split = problem
    summary, acc = softmax_decomposition(logits, labels, split).summary(), accuracies(logits, labels, split)
    assert acc["acc_uy"] == pytest.approx(acc["acc_uu"] - summary["wrong_group_u"])
    assert acc["acc_sy"] == pytest.approx(acc["acc_ss"] - summary["wrong_group_s"])
    assert summary["wrong_within_u"] == pytest.approx(1 - acc["acc_uu"])
    seen_predicted = split.is_seen(logits.argmax(1))
    assert summary["confusion_u"] == pytest.approx(seen_predicted[~split.is_seen(labels)].double().mean().item())


def test_the_summary_is_the_mean_of_each_part_over_each_group(problem):
    logits, labels, split = problem
    dec, seen = softmax_decomposition(logits, labels, split), split.is_seen(labels)
    parts = {
        "p_absent": dec.p_absent,
        "p_within": dec.p_within,
        "confusion": (split.is_seen(logits.argmax(1)) != seen).double(),
        "wrong_within": (~dec.right_within).double(),
        "wrong_group": (dec.right_within & (logits.argmax(1) != labels)).double(),
    }
    of_seen = {f"{name}_s": part[seen].mean().item() for name, part in parts.items()}
    of_absent = {f"{name}_u": part[~seen].mean().item() for name, part in parts.items()}
    assert dec.summary() == pytest.approx(of_seen | of_absent)


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[1000.0, -1000.0, 0.0]])
    dec = softmax_decomposition(logits, torch.tensor([1]), ClassSplit(3, [0]))
    assert dec.p_absent.item() == 0 and 0 <= dec.p_within.item() < 1e-300


def test_the_identity_holds_for_ties_too():
    logits = torch.randint(0, 2, (200, 6), generator=torch.Generator().manual_seed(0)).double()
    labels, split = torch.arange(200) % 6, ClassSplit(6, [1, 4, 5])
    summary, acc = softmax_decomposition(logits, labels, split).summary(), accuracies(logits, labels, split)
    assert acc["acc_uy"] == pytest.approx(acc["acc_uu"] - summary["wrong_group_u"])
    assert acc["acc_sy"] == pytest.approx(acc["acc_ss"] - summary["wrong_group_s"])
