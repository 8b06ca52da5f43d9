import pytest
import torch
from scipy.optimize import minimize
from torch.nn.functional import cross_entropy, normalize

from analysis_lib.analysis.metrics.linear_probe import STRENGTH, linear_probe_scores


@pytest.fixture
def samples(random):
    """Training features and labels of four overlapping classes, and test features; class 2 has no sample."""
    centres = torch.randn(5, 3, generator=random, dtype=torch.float64)
    labels = torch.tensor([0, 1, 3, 4]).repeat(30)
    features = centres[labels] + torch.randn(120, 3, generator=random, dtype=torch.float64)
    return features, labels, torch.randn(50, 3, generator=random, dtype=torch.float64)


def test_the_scores_minimise_the_penalised_cross_entropy(samples):
    """Against the textbook objective, minimised by another optimiser; intercepts carry no penalty."""
    features, labels, test = samples
    unit, columns = normalize(features, dim=1), [0, 1, 3, 4]
    position = torch.tensor([columns.index(y) for y in labels.tolist()])

    def objective(flat):
        flat = torch.tensor(flat, requires_grad=True)
        weight, bias = flat[:12].reshape(4, 3), flat[12:]
        loss = STRENGTH * cross_entropy(unit @ weight.T + bias, position, reduction="sum") + weight.square().sum() / 2
        loss.backward()
        return loss.item(), flat.grad.numpy()

    best = torch.tensor(minimize(objective, [0.0] * 16, jac=True, method="BFGS", options={"gtol": 1e-6}).x)
    expected = normalize(test, dim=1) @ best[:12].reshape(4, 3).T + best[12:]
    found = linear_probe_scores(features, labels, test, 5)[:, columns]
    assert torch.allclose(found.log_softmax(1), expected.log_softmax(1), rtol=0, atol=1e-3)


def test_the_scale_of_a_feature_vector_does_not_matter_and_its_direction_does(samples, random):
    features, labels, test = samples
    scale = 1 + torch.rand(120, 1, generator=random, dtype=torch.float64)
    plain = linear_probe_scores(features, labels, test, 5)
    assert torch.allclose(linear_probe_scores(features * scale, labels, 7 * test, 5), plain, atol=1e-6)
    assert not torch.equal(linear_probe_scores(features, labels, -test, 5).argmax(1), plain.argmax(1))


def test_rotated_features_give_the_same_scores(samples, random):
    """Unlike with features standardised one by one."""
    features, labels, test = samples
    turn = torch.linalg.qr(torch.randn(3, 3, generator=random, dtype=torch.float64)).Q
    turned = linear_probe_scores(features @ turn, labels, test @ turn, 5)
    assert torch.allclose(turned, linear_probe_scores(features, labels, test, 5), atol=1e-3)


def test_a_class_without_training_samples_is_never_predicted(samples):
    features, labels, test = samples
    scores = linear_probe_scores(features.float(), labels, test.float(), 5)
    assert scores.dtype == torch.float64 and scores.shape == (50, 5)
    assert (scores[:, 2] == -torch.inf).all() and scores[:, [0, 1, 3, 4]].isfinite().all()


def test_classes_on_rays_are_told_apart_and_two_classes_are_enough():
    features = torch.eye(3, dtype=torch.float64).repeat_interleave(4, 0) * torch.arange(1, 13)[:, None]
    labels = torch.tensor([2, 0, 1]).repeat_interleave(4)
    assert torch.equal(linear_probe_scores(features, labels, features, 3).argmax(1), labels)
    two = labels < 2
    scores = linear_probe_scores(features[two], labels[two], features[two], 3)
    assert torch.equal(scores.argmax(1), labels[two]) and (scores[:, 2] == -torch.inf).all()
