import math
from itertools import combinations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity

from analysis_lib import ClassSplit, UserError
from analysis_lib.analysis.metrics.head_weights import (
    block_means,
    feature_norms,
    head_norms,
    logit_gap,
    relation_change,
    update_similarity,
)

PARTS = ("norm_part", "angle_part", "bias_part")


def head(seed, num_classes=6, width=4):
    """A random head and split; every group has a class."""
    random = torch.Generator().manual_seed(seed)
    weight, bias = (
        torch.randn(num_classes, width, generator=random, dtype=torch.float64),
        torch.randn(num_classes, generator=random),
    )
    seen = torch.randperm(num_classes, generator=random)[: int(torch.randint(1, num_classes, (), generator=random))]
    return weight, bias, torch.randn(9, width, generator=random), ClassSplit(num_classes, seen.tolist())


def average(values):
    values = [float(value) for value in values]
    return sum(values) / len(values)


def test_norms_are_plain_means_over_the_groups():
    weight, bias, features, split = head(0)
    labels = torch.arange(9) % 6
    norms = head_norms(weight, bias, split) | feature_norms(features, labels, split)
    for group, classes in (("s", split.seen), ("u", split.absent)):
        assert norms[f"weight_norm_{group}"] == pytest.approx(average(sum(weight[c] ** 2) ** 0.5 for c in classes))
        assert norms[f"bias_{group}"] == pytest.approx(average(bias[c] for c in classes))
        assert norms[f"feature_norm_{group}"] == pytest.approx(
            average(sum(features[i] ** 2) ** 0.5 for i in range(9) if labels[i] in classes)
        )
    alone = feature_norms(features, torch.full((9,), split.seen[0]), split)
    assert alone["feature_norm_s"] == pytest.approx(features.norm(dim=1).mean().item()) and math.isnan(
        alone["feature_norm_u"]
    )


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(1, 5))
def test_the_three_parts_sum_to_the_gap_of_the_logits(seed, num_classes, width):
    weight, bias, features, split = head(seed, num_classes, width)
    gap = logit_gap(weight, bias, features, split)
    logits = features.double() @ weight.T + bias
    assert gap["gap"] == pytest.approx(
        (logits[:, list(split.seen)].mean(1) - logits[:, list(split.absent)].mean(1)).mean().item(), abs=1e-12
    )
    assert sum(gap[part] for part in PARTS) == pytest.approx(gap["gap"], abs=1e-12)
    swapped = logit_gap(weight, bias, features, ClassSplit(num_classes, split.absent))
    assert [swapped[name] for name in gap] == pytest.approx([-value for value in gap.values()], abs=1e-12)


def test_the_parts_are_means_over_pairs_of_a_seen_and_an_absent_class():
    weight, bias, features, split = head(1)
    n = [float(row.norm()) for row in weight]
    a = [average(float(f.norm()) * torch.cosine_similarity(f.double(), row, dim=0) for f in features) for row in weight]
    pairs = list(product(split.seen, split.absent))
    gap = logit_gap(weight, bias, features, split)
    assert gap["norm_part"] == pytest.approx(average((n[s] - n[u]) * (a[s] + a[u]) / 2 for s, u in pairs))
    assert gap["angle_part"] == pytest.approx(average((a[s] - a[u]) * (n[s] + n[u]) / 2 for s, u in pairs))
    assert gap["bias_part"] == pytest.approx(average(bias[s] - bias[u] for s, u in pairs))


def test_a_part_is_zero_where_the_classes_do_not_differ_in_it():
    weight, bias, features, split = head(2)
    equal_norms = logit_gap(weight / weight.norm(dim=1, keepdim=True) * 3, bias, features, split)
    assert equal_norms["norm_part"] == pytest.approx(0, abs=1e-12) and abs(equal_norms["angle_part"]) > 0.01
    one_direction = weight[:1] * torch.arange(1, 7)[:, None]
    equal_angles = logit_gap(one_direction, bias, features, split)
    assert equal_angles["angle_part"] == pytest.approx(0, abs=1e-12) and abs(equal_angles["norm_part"]) > 0.01
    only_bias = logit_gap(weight * 0, bias, features, split)
    assert (only_bias["norm_part"], only_bias["angle_part"]) == (0, 0) and only_bias["gap"] == pytest.approx(
        only_bias["bias_part"]
    )
    assert all(
        math.isnan(value) for name, value in logit_gap(weight, bias, features[:0], split).items() if name != "bias_part"
    )


def test_update_similarity_agrees_with_scikit_learn():
    before, after = head(3)[0], head(4)[0]
    matrix = update_similarity(before, after)
    assert matrix.numpy() == pytest.approx(cosine_similarity(after - before), abs=1e-12)
    after[2] = before[2]
    unmoved = torch.zeros(6, 6, dtype=torch.bool)
    unmoved[2] = unmoved[:, 2] = True
    assert torch.equal(update_similarity(before, after).isnan(), unmoved)


def test_absent_rows_of_a_flat_head_move_alike():
    """Autograd: with equal logits, cross-entropy on seen data gives every absent class the same step."""
    _, _, features, _ = head(5)
    split = ClassSplit(6, [0, 2, 3])
    weight = torch.zeros(6, 4, requires_grad=True)
    labels = torch.tensor(split.seen)[torch.arange(9) % len(split.seen)]
    torch.nn.functional.cross_entropy(features @ weight.T, labels).backward()
    blocks = block_means(update_similarity(weight.detach(), weight.detach() - 0.1 * weight.grad), split)
    assert blocks["uu"] == pytest.approx(1, abs=1e-6) and blocks["ss"] < 0.9


def test_block_means_leave_the_diagonal_out():
    split = ClassSplit(6, [1, 2, 5])
    matrix = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    groups = {"s": split.seen, "u": split.absent}
    expected = {
        a + b: average(matrix[i, j] for i in groups[a] for j in groups[b] if i != j) for a, b in ("ss", "uu", "su")
    }
    assert block_means(matrix, split) == pytest.approx(expected)
    single = block_means(matrix, ClassSplit(6, [3]))
    assert math.isnan(single["ss"]) and not math.isnan(single["uu"])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 7), st.integers(1, 5))
def test_relation_change_is_its_definition(seed, num_classes, width):
    before, after = head(seed, num_classes, width)[0], head(seed + 1, num_classes, width)[0]
    classes = range(1, num_classes)
    changes, cosines = [], []
    for u, v in combinations(classes, 2):
        old, new = before[u] - before[v], after[u] - after[v]
        changes.append((new - old).norm() / old.norm())
        cosines.append(torch.cosine_similarity(new, old, dim=0))
    result = relation_change(before, after, classes)
    assert result["relation_change"] == pytest.approx(average(changes), rel=1e-9)
    assert result["relation_cosine"] == pytest.approx(average(cosines), abs=1e-7)


def test_relations_outlive_a_common_step_and_keep_their_direction_under_scaling():
    before = head(6)[0]
    for after, change, cosine in (
        (before + torch.randn(4, dtype=torch.float64), 0, 1),
        (before * 1.5, 0.5, 1),
        (-before, 2, -1),
    ):
        assert relation_change(before, after, [0, 2, 3]) == pytest.approx(
            {"relation_change": change, "relation_cosine": cosine}, abs=1e-12
        )
    other = before.clone()
    other[1] += 5
    assert (
        relation_change(before, other, [0, 2, 3])["relation_change"]
        == 0
        < relation_change(before, other, [0, 1])["relation_change"]
    )
    assert all(math.isnan(value) for value in relation_change(before, other, [1]).values())


def test_says_what_does_not_fit():
    weight, bias, features, split = head(7)
    labels = torch.zeros(9, dtype=torch.long)
    for bad_weight, bad_bias in ((weight[:5], bias[:5]), (weight, bias[:5]), (weight[0], bias)):
        with pytest.raises(
            UserError, match=r"of the head have shapes \(.*\) and \([56],\); expected \(6, D\) and \(6,\)"
        ):
            head_norms(bad_weight, bad_bias, split)
    with pytest.raises(UserError, match=r"features have shape \(9, 3\); expected \(N, 4\)"):
        logit_gap(weight, bias, features[:, :3], split)
    with pytest.raises(UserError, match="features and labels have shapes"):
        feature_norms(features, labels[:8], split)
    with pytest.raises(UserError, match=r"labels span 0..6; expected 0..5"):
        feature_norms(features, labels.index_fill(0, torch.tensor([3]), 6), split)
    features[4, 1] = torch.inf
    with pytest.raises(UserError, match="NaN or infinity, first in row 4"):
        feature_norms(features, labels, split)
    for call in (update_similarity, lambda before, after: relation_change(before, after, [0, 1])):
        with pytest.raises(UserError, match=r"before and after have shapes \(6, 4\) and \(1, 4\); expected one"):
            call(weight, weight[:1])
    with pytest.raises(UserError, match=r"the matrix has shape \(5, 5\); expected \(6, 6\)"):
        block_means(torch.zeros(5, 5), split)
