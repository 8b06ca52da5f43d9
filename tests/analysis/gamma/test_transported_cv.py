from dataclasses import replace

import pytest
import torch

from analysis_lib import ClassSplit, UserError, seen_absent_curve, shift_logits
from analysis_lib.analysis.gamma.estimators import Evidence, estimate_gamma
from analysis_lib.analysis.gamma.estimators.logit_gap import largest_logit_gap
from analysis_lib.analysis.gamma.estimators.pseudo_cv import Fold
from analysis_lib.analysis.gamma.estimators.transported_cv import transported_gamma

CLASSES, SEEN = 12, 6


def network(random, labels, trained, seen, offset=4.0, margin=1.5):
    """Logits of a network: noise, the true class raised (more on trained samples), the classes not trained on
    lowered.
    """
    logits = torch.randn(len(labels), CLASSES, generator=random, dtype=torch.float64)
    logits[torch.arange(len(labels)), labels] += margin + 1.5 * trained.double()
    return logits - offset * (~seen).double()


def make(seed=0, n=240, offset=4.0):
    """A run's fine-tuning data and three folds, and test data of all classes."""
    random = torch.Generator().manual_seed(seed)
    split = ClassSplit(CLASSES, range(SEEN))
    labels = torch.randint(SEEN, (n,), generator=random)
    run = network(random, labels, torch.ones(n, dtype=torch.bool), split.seen_mask, offset)
    held_out = torch.arange(n) % 5 == 0
    folds = []
    for third in range(3):
        own = ClassSplit(SEEN, [c for c in range(SEEN) if c // 2 != third])
        trained = own.is_seen(labels) & ~held_out
        columns = torch.cat([own.seen_mask, torch.ones(CLASSES - SEEN, dtype=torch.bool)])
        logits = network(random, labels, trained, columns, offset)[:, :SEEN]
        folds.append(Fold(logits, logits, labels, own, held_out, torch.arange(n)))
    test_labels = torch.randint(CLASSES, (4000,), generator=random)
    test = network(random, test_labels, torch.zeros(4000, dtype=torch.bool), split.seen_mask, offset)
    return run, labels, split, folds, test, test_labels


def brute_force(run, labels, split, fold, share):
    """The expected accuracy of the docstring, sample by sample, on a grid of gammas."""

    def gap(row, seen, absent):
        return max(row[c] for c in seen) - max(row[c] for c in absent)

    def right(rows, fold_labels, seen):
        return [max(seen, key=lambda c: row[c]) == y for row, y in zip(rows, fold_labels)]

    rows, y = fold.logits.tolist(), fold.labels.tolist()
    gaps = [gap(row, fold.split.seen, fold.split.absent) for row in rows]
    correct = right(rows, y, fold.split.seen)
    trained = [i for i in range(len(y)) if fold.trained[i]]
    held_out = [i for i in range(len(y)) if fold.held_out[i] and y[i] in fold.split.seen]

    def mean(values):
        return sum(values) / len(values)

    lower = mean([gaps[i] for i in trained if correct[i]]) - mean([gaps[i] for i in held_out if correct[i]])
    kept = mean([correct[i] for i in held_out]) / mean([correct[i] for i in trained])
    raised = largest_logit_gap(run, labels, split) - largest_logit_gap(
        fold.logits[fold.trained], fold.labels[fold.trained], fold.split
    )
    own = run.tolist()
    own_gaps = [gap(row, split.seen, split.absent) - lower for row in own]
    own_right = right(own, labels.tolist(), split.seen)
    pseudo = [i for i in range(len(y)) if y[i] in fold.split.absent]
    absent_right = right(rows, y, fold.split.absent)

    def expected(gamma):
        seen = mean([kept * r * (g >= gamma) for g, r in zip(own_gaps, own_right)])
        absent = mean([absent_right[i] * (gaps[i] + raised < gamma) for i in pseudo])
        return (1 - share) * seen + share * absent

    return expected


@pytest.mark.parametrize("share", [None, 0.1, 0.8])
def test_it_maximises_the_expected_accuracy_of_its_definition(share):
    run, labels, split, folds, _, _ = make()
    noise = 2 * torch.randn(240, SEEN, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    noisy = [replace(fold, logits=fold.logits + noise) for fold in folds]  # wrong on some of what they trained on
    for fold in [*folds, *noisy]:
        expected = brute_force(run, labels, split, fold, (CLASSES - SEEN) / CLASSES if share is None else share)
        found = transported_gamma(run, labels, split, [fold], share)
        assert expected(found) >= max(expected(k / 20) for k in range(-100, 300)) - 1e-12
    each = [transported_gamma(run, labels, split, [fold], share) for fold in folds]
    mean = transported_gamma(run, labels, split, folds, share)
    assert mean == pytest.approx(sum(each) / 3)
    evidence = Evidence(run, labels, split, thirds=folds, absent_share=share)
    assert estimate_gamma("transported_cv", evidence) == mean
    assert estimate_gamma("auto", evidence) == mean, "where folds are given, whether or not the share is"
    with pytest.raises(UserError, match="the share of absent samples is 1.2; expected a fraction from 0 to 1"):
        transported_gamma(run, labels, split, folds, 1.2)


@pytest.mark.parametrize("seed", range(5))
def test_it_comes_close_to_the_oracle_where_the_folds_behave_like_the_run(seed):
    run, labels, split, folds, test, test_labels = make(seed, n=1200)
    curve = seen_absent_curve(test, test_labels, split)
    gamma = transported_gamma(run, labels, split, folds)
    assert curve.best().acc_yy - curve.at(gamma).acc_yy < 0.01 < curve.best().acc_yy - curve.at(0.0).acc_yy


def test_a_shift_of_the_runs_absent_logits_moves_gamma_by_as_much():
    run, labels, split, folds, _, _ = make()
    base = transported_gamma(run, labels, split, folds)
    assert transported_gamma(shift_logits(run, split, -2.5), labels, split, folds) == pytest.approx(base + 2.5)


def test_a_fold_without_a_right_held_out_sample_is_refused():
    run, labels, split, folds, _, _ = make()
    none = replace(folds[0], held_out=torch.zeros_like(folds[0].held_out))
    with pytest.raises(UserError, match="needs in every fold a held-out image that the fold gets right"):
        transported_gamma(run, labels, split, [none])


def test_no_finite_gamma_is_named():
    run, labels, split, folds, _, _ = make()
    masked = run.index_fill(1, torch.tensor(split.absent), -torch.inf)
    with pytest.raises(UserError, match="transported_cv finds no finite gamma"):
        transported_gamma(masked, labels, split, folds)
