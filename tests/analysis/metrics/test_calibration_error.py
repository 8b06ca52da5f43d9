import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from analysis_lib import ClassSplit, UserError
from analysis_lib.analysis.metrics.calibration_error import calibration_errors, expected_calibration_error


def problem(seed, n=120, num_classes=6, scale=2.0):
    random = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, num_classes, generator=random), torch.randint(num_classes, (n,), generator=random)


def by_loops(logits, labels, bins):
    held = {}
    for row, y in zip(logits.tolist(), labels.tolist()):
        odds = [math.exp(z - max(row)) for z in row]
        confidence = max(odds) / sum(odds)
        k = next(k for k in range(bins) if confidence <= (k + 1) / bins or k == bins - 1)
        held.setdefault(k, []).append((confidence, row.index(max(row)) == y))
    gap = 0
    for pairs in held.values():
        confidence, accuracy = (sum(values) / len(pairs) for values in zip(*pairs))
        gap += len(pairs) / len(labels) * abs(confidence - accuracy)
    return gap


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(2, 8), st.integers(1, 20), st.sampled_from([2.0, 8.0]))
def test_equals_brute_force(seed, n, num_classes, bins, scale):
    logits, labels = problem(seed, n, num_classes, scale)
    assert expected_calibration_error(logits, labels, bins) == pytest.approx(
        by_loops(logits.double(), labels, bins), abs=1e-12
    )


def test_the_lowest_bins_are_bins_too():
    """Many classes of nearly equal logits, whose confidence is below the first edges."""
    logits, labels = problem(3, 200, 40, 0.8)
    assert logits.softmax(1).amax(1).min() < 1 / 15
    assert expected_calibration_error(logits, labels) == pytest.approx(by_loops(logits.double(), labels, 15))


def test_edges_are_exact_to_float64():
    """Confidences of 0.19 and just above 0.2 are in two of five bins, so that their errors do not cancel."""
    above = 0.2 + 1e-9
    rows = [[above] + [(1 - above) / 9] * 9, [0.19] + [0.09] * 9]
    logits = torch.tensor(rows, dtype=torch.float64).log()
    assert expected_calibration_error(logits, torch.tensor([1, 0]), 5) == pytest.approx((0.2 + 0.81) / 2)


def test_agrees_with_the_reliability_curve_of_scikit_learn():
    logits, labels = problem(1, n=500)
    confidence, predicted = logits.double().softmax(1).max(1)
    accuracy, mean = calibration_curve(predicted == labels, confidence, n_bins=15)
    counts = np.histogram(confidence, bins=15, range=(0, 1))[0]
    expected = (counts[counts > 0] * abs(accuracy - mean)).sum() / 500
    assert expected_calibration_error(logits, labels) == pytest.approx(expected)


def test_a_bin_holds_its_upper_edge():
    """Confidence exactly 1/2 shares the lower of two bins with 0.4: there two errors cancel that would not in bins of
    their own.
    """
    half, below = [0.0, 0.0, -math.inf], [math.log(0.4), math.log(0.3), math.log(0.3)]
    logits, labels = torch.tensor([half, below], dtype=torch.float64), torch.tensor([0, 1])
    assert expected_calibration_error(logits, labels, 2) == pytest.approx(abs((0.5 - 1) + (0.4 - 0)) / 2)
    assert expected_calibration_error(logits, labels, 15) == pytest.approx((0.5 + 0.4) / 2)


def test_labels_drawn_from_the_softmax_are_calibrated(random):
    """The error falls towards 0 with the samples; a temperature of 1/3 makes the same model overconfident."""
    logits, _ = problem(2, n=40_000, scale=1.5)
    labels = torch.multinomial(logits.softmax(1), 1, generator=random).squeeze(1)
    assert expected_calibration_error(logits, labels) < 0.01
    assert expected_calibration_error(3 * logits, labels) > 0.15


def test_the_ends():
    sure = 1000 * torch.eye(4)
    assert expected_calibration_error(sure, torch.arange(4)) == 0
    assert expected_calibration_error(sure, (torch.arange(4) + 1) % 4) == 1
    logits, labels = problem(3)
    confidence, predicted = logits.double().softmax(1).max(1)
    assert expected_calibration_error(logits, labels, 1) == pytest.approx(
        abs((confidence - (predicted == labels).double()).mean().item())
    )


def test_a_constant_per_row_changes_nothing(random):
    logits, labels = problem(4)
    moved = logits.double() + 5 * torch.randn(120, 1, generator=random, dtype=torch.float64)
    assert expected_calibration_error(moved, labels) == pytest.approx(expected_calibration_error(logits, labels))


def test_each_group_is_scored_over_all_classes():
    logits, labels = problem(5)
    confidence, predicted = logits.softmax(1).max(1)
    labels = labels.where(confidence > 0.6, predicted)  # too sure above, not sure enough below: bins differ in sign
    split = ClassSplit(6, [0, 4])
    errors = calibration_errors(logits, labels, split)
    seen = torch.tensor([y in (0, 4) for y in labels.tolist()])
    assert list(errors) == ["ece_y", "ece_s", "ece_u"]
    expected = [
        by_loops(logits[rows].double(), labels[rows], 15) for rows in (torch.ones(120, dtype=torch.bool), seen, ~seen)
    ]
    assert list(errors.values()) == pytest.approx(expected)
    share = seen.double().mean().item()
    assert errors["ece_y"] <= share * errors["ece_s"] + (1 - share) * errors["ece_u"] + 1e-12
    single = by_loops(logits[seen].double(), labels[seen], 1)
    assert single < errors["ece_s"] - 0.01
    assert calibration_errors(logits, labels, split, bins=1)["ece_s"] == pytest.approx(single)


def test_an_empty_group_is_nan():
    logits, labels = problem(6)
    seen_only = calibration_errors(logits[:5], torch.zeros(5, dtype=torch.long), ClassSplit(6, [0, 1]))
    assert math.isnan(seen_only["ece_u"]) and seen_only["ece_s"] == seen_only["ece_y"] >= 0
    assert math.isnan(expected_calibration_error(logits[:0], labels[:0]))


def test_what_does_not_fit_is_refused():
    logits, labels = problem(7)
    with pytest.raises(UserError, match=r"logits have shape \(120, 6\) and labels \(119,\)"):
        expected_calibration_error(logits, labels[1:])
    with pytest.raises(UserError, match="bins is 0; give at least 1"):
        expected_calibration_error(logits, labels, 0)
    for value in (torch.nan, torch.inf):
        broken = logits.clone()
        broken[8, 2] = value
        with pytest.raises(UserError, match="row 8 has no softmax"):
            expected_calibration_error(broken, labels)
    with pytest.raises(UserError, match="labels span 0..6; expected 0..5"):
        calibration_errors(logits, labels.where(labels < 5, 6), ClassSplit(6, [0]))
