import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.preprocessing import normalize

from analysis_lib import ClassSplit, UserError, class_means
from analysis_lib.analysis.metrics.feature_drift import (
    absent_logits,
    dispersion,
    displacement,
    mean_motion,
    separability,
)

SPLIT = ClassSplit(5, [0, 3])


def clouds(seed, n=40, width=6):
    """Features of five classes, every class with samples."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 5
    return torch.randn(5, width, generator=random)[labels] + torch.randn(n, width, generator=random), labels


def average(values):
    values = [float(value) for value in values]
    return sum(values) / len(values) if values else math.nan


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_displacement_equals_a_loop_over_all_pairs(seed, n):
    (before, labels), (after, _) = clouds(seed, n), clouds(seed + 1, n)
    step = (after.double() - before.double()).numpy()
    seen = [int(label) in SPLIT.seen for label in labels]
    cosine = {
        (i, j): step[i] @ step[j] / np.linalg.norm(step[i]) / np.linalg.norm(step[j])
        for i, j in combinations(range(n), 2)
    }
    expected = {
        "displacement_s": average(np.linalg.norm(step[i]) for i in range(n) if seen[i]),
        "displacement_u": average(np.linalg.norm(step[i]) for i in range(n) if not seen[i]),
        "cosine_class": average(value for (i, j), value in cosine.items() if labels[i] == labels[j]),
        "cosine_s": average(value for (i, j), value in cosine.items() if seen[i] and seen[j]),
        "cosine_u": average(value for (i, j), value in cosine.items() if not seen[i] and not seen[j]),
        "cosine_su": average(value for (i, j), value in cosine.items() if seen[i] != seen[j]),
    }
    assert displacement(before, after, labels, SPLIT) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_displacement_of_groups_that_move_apart():
    before, labels = clouds(0)
    direction = torch.zeros(6, dtype=torch.float64).index_fill(0, torch.tensor(2), 1)
    step = torch.where(SPLIT.is_seen(labels), 3.0, -0.5)[:, None] * direction
    moved = displacement(before.double(), before.double() + step, labels, SPLIT)
    expected = {
        "displacement_s": 3,
        "displacement_u": 0.5,
        "cosine_class": 1,
        "cosine_s": 1,
        "cosine_u": 1,
        "cosine_su": -1,
    }
    assert moved == pytest.approx(expected, abs=1e-12)
    still = displacement(before, before, labels, SPLIT)
    assert (still["displacement_s"], still["displacement_u"]) == (0, 0) and all(
        math.isnan(still[key]) for key in list(still)[2:]
    )


def test_mean_motion_leaves_empty_classes_out():
    (before, labels), (after, _) = clouds(1), clouds(2)
    kept = labels != 4
    old, new = class_means(before, labels, 5), class_means(after[kept], labels[kept], 5)
    step = {c: math.dist(old[c].tolist(), new[c].tolist()) for c in range(4)}
    expected = {
        "motion_y": average(step.values()),
        "motion_s": average([step[0], step[3]]),
        "motion_u": average([step[1], step[2]]),
    }
    assert mean_motion(old, new, SPLIT) == pytest.approx(expected)
    only_4_absent, only_4_seen = (
        mean_motion(old, new, ClassSplit(5, [0, 1, 2, 3])),
        mean_motion(old, new, ClassSplit(5, [4])),
    )
    assert math.isnan(only_4_absent["motion_u"]) and only_4_absent["motion_s"] == pytest.approx(expected["motion_y"])
    assert math.isnan(only_4_seen["motion_s"])
    assert mean_motion(old, new, ClassSplit(5, [1, 4]))["motion_s"] == pytest.approx(step[1])


def dispersion_by_hand(train, train_labels, test, test_labels):
    """The 16 distances by numpy and plain loops; classes without training samples have no centre."""
    unit = {"train": normalize(train.double()), "test": normalize(test.double())}
    labels = {"train": train_labels.numpy(), "test": test_labels.numpy()}
    seen = {part: np.isin(labels[part], SPLIT.seen) for part in unit}
    rows = {}
    for part in ("train", "test"):
        for group in ("s", "u"):
            own = seen["train"] == (group == "s")
            distances = {"class": [], "own_group": [], "other_group": [], "all": []}
            for point, label in zip(
                unit[part][seen[part] == (group == "s")], labels[part][seen[part] == (group == "s")]
            ):
                mates = unit["train"][labels["train"] == label]
                if len(mates):
                    distances["class"].append(math.dist(point, mates.mean(0) / np.linalg.norm(mates.mean(0))))
                distances["own_group"].append(math.dist(point, unit["train"][own].mean(0)))
                distances["other_group"].append(math.dist(point, unit["train"][~own].mean(0)))
                distances["all"].append(math.dist(point, unit["train"].mean(0)))
            rows |= {(part, group, to): average(values) for to, values in distances.items()}
    return rows


@pytest.mark.parametrize("left_out", [None, 4])
def test_dispersion_equals_plain_loops(left_out):
    (train, train_labels), (test, test_labels) = clouds(3), clouds(4, 25)
    kept = train_labels != left_out if left_out else torch.ones(40, dtype=torch.bool)
    train, train_labels = train[kept], train_labels[kept]
    table = dispersion(train, train_labels, test, test_labels, SPLIT)
    series = table.set_index(["part", "group", "to"])["distance"].to_dict()
    assert len(table) == len(series) == 16 and series == pytest.approx(
        dispersion_by_hand(train, train_labels, test, test_labels)
    )
    scaled = dispersion(train * torch.linspace(1, 9, len(train))[:, None], train_labels, test * 0.1, test_labels, SPLIT)
    assert scaled["distance"].tolist() == pytest.approx(table["distance"].tolist(), abs=1e-6)


def test_dispersion_without_samples_of_a_group():
    train, labels = clouds(5)
    rows = SPLIT.is_seen(labels)
    table = (
        dispersion(train[rows], labels[rows], train, labels, SPLIT)
        .set_index(["part", "group", "to"])["distance"]
        .sort_index()
    )
    assert (
        table["train", "u"].isna().all()
        and math.isnan(table["test", "u", "own_group"])
        and math.isnan(table["test", "s", "other_group"])
    )
    assert table["test", "s"].drop("other_group").to_dict() == pytest.approx(
        table["train", "s"].drop("other_group").to_dict()
    )


def test_absent_logits_are_their_definition():
    logits, labels = clouds(6, width=5)
    rows = [(row, y) for row, y in zip(logits.tolist(), labels.tolist()) if y in SPLIT.absent]
    expected = {
        "logit_true": average(row[y] for row, y in rows),
        "logit_other_absent": average(max(row[c] for c in SPLIT.absent if c != y) for row, y in rows),
        "logit_seen": average(max(row[c] for c in SPLIT.seen) for row, _ in rows),
    }
    result = absent_logits(logits, labels, SPLIT)
    assert result == pytest.approx(expected)
    raised = absent_logits(logits + 2 * SPLIT.seen_mask, labels, SPLIT)
    assert raised == pytest.approx(result | {"logit_seen": result["logit_seen"] + 2})
    assert all(math.isnan(value) for value in absent_logits(logits, torch.zeros_like(labels), SPLIT).values())
    assert absent_logits(logits, labels, ClassSplit(5, range(4)))["logit_other_absent"] == -math.inf


def shifted(seed, n, shift):
    """Two normal groups that differ by `shift` standard deviations in one feature of unequal scales."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (n,), generator=random)
    features = torch.randn(n, 4, generator=random)
    features[:, 1] += shift * SPLIT.is_seen(labels)
    return features * torch.tensor([1, 0.01, 100, 5]), labels


def test_separability_of_two_normal_groups_has_the_known_area():
    train, test = shifted(0, 4000, 1.5), shifted(1, 4000, 1.5)
    area = separability(*train, *test, SPLIT)
    assert area == pytest.approx(norm.cdf(1.5 / 2**0.5), abs=0.03)  # 4 standard errors
    assert (
        area
        == separability(*train, *test, SPLIT)
        == pytest.approx(separability(*train, *test, ClassSplit(5, SPLIT.absent)), abs=1e-6)
    )
    assert separability(*shifted(0, 4000, 0), *shifted(1, 4000, 0), SPLIT) == pytest.approx(0.5, abs=0.04)


def test_separability_is_fit_on_train_and_measured_on_test():
    train, (test, labels) = shifted(2, 300, 50), shifted(3, 300, 50)
    assert separability(*train, test, labels, SPLIT) == 1
    assert separability(*train, -test, labels, SPLIT) == 0


def test_separability_ignores_scale_and_offset_of_each_feature():
    (train, train_labels), (test, test_labels) = shifted(4, 200, 1), shifted(5, 200, 1)
    scale, offset = torch.tensor([7, 3, 0.1, 1]), torch.tensor([5, -0.01, 0, 9])
    moved = separability(train * scale + offset, train_labels, test * scale + offset, test_labels, SPLIT)
    assert moved == pytest.approx(separability(train, train_labels, test, test_labels, SPLIT), abs=1e-3)


def test_says_what_does_not_fit():
    features, labels = clouds(7)
    with pytest.raises(UserError, match="expected the same samples in both"):
        displacement(features, features[:39], labels, SPLIT)
    broken = features.clone()
    broken[8, 0] = torch.nan
    for before, after in ((broken, features), (features, broken)):
        with pytest.raises(UserError, match="NaN or infinity, first in row 8"):
            displacement(before, after, labels, SPLIT)
    for train, test in ((broken, features), (features, broken)):
        for measure in (dispersion, separability):
            with pytest.raises(UserError, match="NaN or infinity, first in row 8"):
                measure(train, labels, test, labels, SPLIT)
    with pytest.raises(UserError, match=r"shapes \(4, 3\) and \(4, 3\); expected \(5, D\) for both"):
        mean_motion(torch.zeros(4, 3), torch.zeros(4, 3), SPLIT)
    with pytest.raises(UserError, match=r"shapes \(5, 3\) and \(1, 3\); expected \(5, D\) for both"):
        mean_motion(torch.zeros(5, 3), torch.zeros(1, 3), SPLIT)
    with pytest.raises(UserError, match=r"logits have shape \(40, 6\)"):
        absent_logits(features, labels, SPLIT)
    for group in (0, 1):
        alone = torch.full_like(labels, group)
        with pytest.raises(UserError, match="the train part has only one"):
            separability(features, alone, features, labels, SPLIT)
        with pytest.raises(UserError, match="the test part has only one"):
            separability(features, labels, features, alone, SPLIT)
