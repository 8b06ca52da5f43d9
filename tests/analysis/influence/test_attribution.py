import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.nn.functional import cross_entropy

from analysis_lib import ClassSplit, UserError, class_means, ncm_scores
from analysis_lib.analysis.influence.attribution import (
    concentration,
    cosines,
    margin_change,
    mean_pairwise_cosine,
    rank_correlation,
)
from analysis_lib.analysis.influence.head_step import feature_gradients, head_offset, head_step
from analysis_lib.analysis.influence.kernel import class_kernel


def normal(random, *shape):
    return torch.randn(*shape, generator=random, dtype=torch.float64)


@pytest.fixture
def head(random):
    """Features, labels of the classes 0, 2, 3 of five, and a linear head."""
    return normal(random, 12, 6), torch.tensor([0, 2, 3]).repeat(4), normal(random, 5, 6), normal(random, 5)


def by_autograd(features, labels, weight, bias):
    leaves = [value.clone().requires_grad_() for value in (features, weight, bias)]
    cross_entropy(leaves[0] @ leaves[1].T + leaves[2], labels).backward()
    return [value.grad for value in leaves]


def test_feature_gradients_and_head_step_are_those_of_autograd(head):
    features, labels, weight, bias = head
    logits = features @ weight.T + bias
    of_features, of_weight, of_bias = by_autograd(*head)
    assert torch.allclose(feature_gradients(logits, labels, weight), len(labels) * of_features, rtol=0, atol=1e-10)
    weight_step, bias_step = head_step(features, logits, labels)
    assert torch.allclose(weight_step, -of_weight, rtol=0, atol=1e-10) and torch.allclose(
        bias_step, -of_bias, rtol=0, atol=1e-10
    )
    absent = -torch.softmax(logits, 1)[:, [1, 4]].T @ features / len(labels)
    assert torch.allclose(weight_step[[1, 4]], absent, rtol=0, atol=1e-12)


def test_head_offset_is_what_the_moved_head_does_to_the_logits(head, random):
    features, labels, weight, bias = head
    split, targets = ClassSplit(5, [0, 2, 3]), normal(random, 7, 6)
    weight_step, bias_step = head_step(features, features @ weight.T + bias, labels)
    change = (targets @ (weight + weight_step).T + bias + bias_step) - (targets @ weight.T + bias)
    expected = change[:, [1, 4]].mean(1) - change[:, [0, 2, 3]].mean(1)
    assert torch.allclose(head_offset(targets, weight_step, bias_step, split), expected, rtol=0, atol=1e-12)
    # the bias alone: p for U, p minus the labels for S
    assert head_offset(torch.zeros(1, 6), weight_step, bias_step, split).item() < 0


def test_cosines_broadcast_and_leave_zero_without_direction(random):
    each, directions = normal(random, 3, 5, 4), normal(random, 3, 1, 4)
    expected = [
        [torch.cosine_similarity(each[k, n], directions[k, 0], dim=0).item() for n in range(5)] for k in range(3)
    ]
    assert cosines(each, directions).tolist() == [pytest.approx(row) for row in expected]
    assert cosines(each[0], directions[0, 0]).tolist() == pytest.approx(expected[0])
    assert cosines(each[0].float(), -3 * each[0]).tolist() == pytest.approx([-1] * 5)
    assert cosines(torch.zeros(1, 4), directions[0]).isnan().all()


def test_mean_pairwise_cosine_is_the_mean_over_all_pairs(random):
    vectors = normal(random, 9, 4) * 10 ** normal(random, 9, 1) + 0.5
    pairs = [torch.cosine_similarity(vectors[i], vectors[j], dim=0).item() for i in range(9) for j in range(i)]
    assert mean_pairwise_cosine(vectors) == pytest.approx(sum(pairs) / len(pairs))
    assert mean_pairwise_cosine(vectors[:1].repeat(4, 1).float()) == pytest.approx(1)
    assert mean_pairwise_cosine(torch.eye(4)) == pytest.approx(0)
    assert math.isnan(mean_pairwise_cosine(vectors[:1])) and math.isnan(mean_pairwise_cosine(vectors[:0]))


def test_two_vectors_are_one_pair(random):
    pair = normal(random, 2, 5)
    assert mean_pairwise_cosine(pair) == pytest.approx(cosines(pair[0], pair[1]).item())
    assert math.isnan(mean_pairwise_cosine(pair[:1])) and math.isnan(mean_pairwise_cosine(pair[:0]))


def test_class_kernel_is_its_definition(random):
    """By loops over targets, classes and directions, with classes of different sizes."""
    labels, targets, images = torch.tensor([7, 4, 7, 4, 9]), normal(random, 3, 2, 6), normal(random, 3, 5, 6)
    found, error = class_kernel(targets, images, labels)
    for row in range(2):
        for column, c in enumerate((4, 7, 9)):
            own = [i for i, label in enumerate(labels.tolist()) if label == c]
            draws = [sum(float(targets[r, row] @ images[r, i]) for i in own) / len(own) for r in range(3)]
            norms = [float(images[:, i].square().sum()) / 3 for i in own]
            scale = (float(targets[:, row].square().sum()) / 3 * sum(norms) / len(norms)) ** 0.5
            assert found[row, column].item() == pytest.approx(statistics.mean(draws) / scale)
            assert error[row, column].item() == pytest.approx(statistics.stdev(draws) / 3**0.5 / scale)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 9))
def test_concentration_is_a_plain_ranking_with_ties(seed, n, num_classes):
    random = torch.Generator().manual_seed(seed)
    sizes, scores = (
        torch.rand(n, num_classes, generator=random) + 0.01,
        torch.randint(4, (n, num_classes), generator=random),
    )
    found = concentration(sizes, scores)
    for row in range(n):
        order = sorted(range(num_classes), key=lambda c: (-scores[row, c].item(), c))
        for k in range(1, num_classes + 1):
            assert found[row, k - 1].item() == pytest.approx(
                sum(sizes[row, c].item() for c in order[:k]) / sizes[row].sum().item(), rel=1e-5
            )
    assert (concentration(sizes, sizes) >= found - 1e-12).all() and (
        concentration(sizes, -sizes) <= found + 1e-12
    ).all()


def test_an_uninformative_score_gives_k_of_K(random):
    sizes, scores = torch.rand(20_000, 5, generator=random), torch.rand(20_000, 5, generator=random)
    assert concentration(sizes, scores).mean(0).tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1], abs=0.005)


def test_among_equal_scores_the_first_class_comes_first(random):
    sizes = torch.rand(5, 100, generator=random, dtype=torch.float64)
    halves = (torch.arange(100) < 50).double().expand(5, 100)
    assert torch.allclose(concentration(sizes, halves), sizes.cumsum(1) / sizes.sum(1, keepdim=True))


def test_rank_correlation_agrees_with_scipy(random):
    sizes, scores = normal(random, 30, 11), normal(random, 30, 11)
    tied = torch.randint(3, (30, 11), generator=random)
    for a, b in ((sizes, scores), (sizes, tied), (tied, (sizes * 2).round()), (sizes.T.contiguous().T, sizes.exp())):
        expected = [stats.spearmanr(x, y).statistic for x, y in zip(a.tolist(), b.tolist())]
        assert rank_correlation(a, b).tolist() == pytest.approx(expected, abs=1e-12)
    assert rank_correlation(sizes, torch.ones(30, 11)).isnan().all()


@pytest.fixture
def clouds(random):
    """Targets, their motion, labels, and the means of 6 classes of which class 2 has none."""
    labels = torch.arange(6).repeat(8)
    features = normal(random, 6, 5)[labels] + normal(random, 48, 5)
    kept = labels != 2
    return features[kept], normal(random, 40, 5), labels[kept], class_means(features[kept], labels[kept], 6)


def margin(features, labels, means):
    cosine = ncm_scores(features, means)
    others = [[cosine[row, c] for c in range(len(means)) if c != y] for row, y in enumerate(labels.tolist())]
    return torch.stack(
        [cosine[row, y] - torch.stack(rivals).max() for (row, y), rivals in zip(enumerate(labels.tolist()), others)]
    )


def test_margin_change_is_the_derivative_of_the_margin(clouds):
    features, motion, labels, means = clouds
    found = margin_change(features, motion, labels, means)
    h = 1e-6
    differences = (margin(features + h * motion, labels, means) - margin(features - h * motion, labels, means)) / (
        2 * h
    )
    assert torch.allclose(found, differences, rtol=0, atol=1e-7)
    others = means[[0, 1, 3, 4, 5]], labels - (labels > 2).long()  # autograd takes no NaN
    (slope,) = torch.autograd.grad(margin(features.requires_grad_(), others[1], others[0]).sum(), features)
    assert torch.allclose(found, (slope * motion).sum(1), rtol=0, atol=1e-10)
    assert found.abs().min() > 1e-4


def test_margin_change_knows_turns_from_growth(clouds):
    features, motion, labels, means = clouds
    assert torch.allclose(
        margin_change(features, 3 * features, labels, means), torch.zeros(40, dtype=torch.float64), atol=1e-12
    )
    twice = margin_change(2 * features, 2 * motion, labels, means)
    assert torch.allclose(twice, margin_change(features, motion, labels, means))
    axes = torch.eye(2, dtype=torch.float64)
    # cos - sin at 45 degrees
    assert margin_change(torch.ones(1, 2), axes[:1], torch.tensor([0]), axes).item() == pytest.approx(2**-0.5)
    assert margin_change(features, motion, torch.full((40,), 2), means).isnan().all()


def test_says_what_does_not_fit(head, clouds):
    features, labels, weight, bias = head
    logits = features @ weight.T + bias
    for bad in (labels[1:], labels[None]):
        with pytest.raises(UserError, match=r"expected \(N, C\) and \(N,\)"):
            feature_gradients(logits, bad, weight)
    with pytest.raises(UserError, match="labels span 1..5; expected 0..4"):
        head_step(features, logits, labels.clamp(min=1) + 2 * (labels == 3))
    with pytest.raises(UserError, match="the step is of 5 classes and the split of 6"):
        head_offset(features, *head_step(features, logits, labels), ClassSplit(6, [0, 2, 3]))
    for statistic in (concentration, rank_correlation):
        with pytest.raises(UserError, match=r"sizes have shape \(3, 4\) and scores \(3, 5\)"):
            statistic(torch.ones(3, 4), torch.ones(3, 5))
    alone = clouds[3].clone()
    alone[1:] = torch.nan
    with pytest.raises(UserError, match="at least two classes must have a mean"):
        margin_change(*clouds[:3], alone)
