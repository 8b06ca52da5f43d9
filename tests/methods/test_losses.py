"""Losses without a memory of the start: seen softmax, label smoothing, effective rank."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from analysis_lib.methods.label_smoothing import LabelSmoothing
from analysis_lib.methods.rank import Rank, rank_entropy
from analysis_lib.methods.seen_softmax import SeenSoftmax
from analysis_lib.models.backbone import features_and_logits

SEEN, ABSENT = [1, 2, 4, 5], [0, 3]


def test_the_seen_softmax_is_cross_entropy_over_seen_logits(network, data, batch):
    (x, labels), model, method = batch, network().train(), SeenSoftmax()
    method.prepare(model, data())
    loss, logits = method.loss(model, x, labels)
    places = torch.tensor([SEEN.index(label) for label in labels.tolist()])
    assert torch.allclose(loss, cross_entropy(logits[:, SEEN], places), atol=1e-14)
    assert torch.equal(logits, network().train()(x)), "the logits are those of all classes"
    loss.backward()
    for gradient in (model.head.weight.grad, model.head.bias.grad):
        assert (gradient[ABSENT] == 0).all() and (gradient[SEEN] != 0).any(-1).all()
    (free,) = torch.autograd.grad(cross_entropy(logits := model(x), labels), logits)
    assert (free[:, ABSENT] > 0).all(), "the softmax over all classes pushes absent logits down"


def test_by_the_seen_softmax_absent_rows_of_the_head_never_move(fit, network):
    model, start = fit(SeenSoftmax(), weight_decay=0.0), network()
    for name in ("weight", "bias"):
        now, before = getattr(model.head, name), getattr(start.head, name)
        assert torch.equal(now[ABSENT], before[ABSENT]) and not torch.equal(now[SEEN], before[SEEN])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_smoothed_labels_are_spread_over_all_classes(network, batch, smoothing):
    x, labels = batch
    loss, logits = LabelSmoothing(smoothing).loss(network().train(), x, labels)
    target = torch.full((len(x), 6), smoothing / 6, dtype=torch.float64)
    target[torch.arange(len(x)), labels] += 1 - smoothing
    assert torch.allclose(loss, -(target * logits.log_softmax(1)).sum(1).mean(), atol=1e-14)


def orthonormal(rows: int, columns: int, random: torch.Generator) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(rows, columns, generator=random, dtype=torch.float64))[0]


def centred_directions(n: int, k: int, random: torch.Generator) -> torch.Tensor:
    """k orthonormal columns (n, k), each of mean 0."""
    columns = torch.randn(n, k, generator=random, dtype=torch.float64)
    return torch.linalg.qr(columns - columns.mean(0))[0]


@pytest.mark.parametrize(("n", "d"), [(12, 5), (6, 30)])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_k_equal_singular_values_have_the_entropy_log_k(random, n, d, k):
    features = 3 * centred_directions(n, k, random) @ orthonormal(d, k, random).T
    assert rank_entropy(features).item() == pytest.approx(math.log(k), abs=1e-4)


def test_the_entropy_is_that_of_the_shares_of_the_singular_values(random):
    shares = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    features = centred_directions(9, 3, random) @ (7 * shares.diag()) @ orthonormal(4, 3, random).T
    expected = -sum(p * math.log(p) for p in shares.tolist())
    assert rank_entropy(features).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("n", "d"), [(9, 4), (4, 9), (5, 5)])
def test_the_entropy_ignores_scale_rotation_and_shift(random, n, d):
    features = torch.randn(n, d, generator=random, dtype=torch.float64)
    value = rank_entropy(features)
    assert 0 < value <= math.log(min(n - 1, d))
    rotation, shift = orthonormal(d, d, random), torch.randn(d, generator=random, dtype=torch.float64)
    for changed in (0.01 * features, 100 * features, features @ rotation, features + shift):
        assert torch.allclose(rank_entropy(changed), value, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "d"), [(6, 3), (3, 6), (1, 4), (2, 2)])
@pytest.mark.parametrize("kind", ["random", "repeated", "half repeated", "zero", "equal singular values"])
def test_the_entropy_has_a_finite_gradient(random, n, d, kind, dtype):
    features = torch.randn(n, d, generator=random, dtype=dtype)
    if kind == "repeated":
        features[:] = features[0].clone()
    elif kind == "half repeated":
        features[: n // 2] = features[0].clone()
    elif kind == "zero":
        features[:] = 0
    elif kind == "equal singular values":
        features = torch.eye(n, d, dtype=dtype)
    features.requires_grad_()
    value = rank_entropy(features)
    (gradient,) = torch.autograd.grad(value, features)
    assert value.isfinite() and gradient.isfinite().all()


@pytest.mark.parametrize(("n", "d"), [(7, 3), (3, 7)])
def test_the_gradient_of_the_entropy_is_right(random, n, d):
    features = torch.randn(n, d, generator=random, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rank_entropy, features)


def test_the_rank_term_rewards_entropy(network, batch, fit):
    x, labels = batch
    loss, logits = Rank(weight=0.3).loss(model := network().train(), x, labels)
    entropy = rank_entropy(features_and_logits(model, x)[0])
    assert torch.allclose(loss, cross_entropy(logits, labels) - 0.3 * entropy, atol=1e-14)
    with torch.no_grad():
        found = [
            rank_entropy(features_and_logits(fit(Rank(weight=w), epochs=4, lr=0.01).eval(), x)[0]) for w in (0.0, 3.0)
        ]
    assert found[1] > found[0]
