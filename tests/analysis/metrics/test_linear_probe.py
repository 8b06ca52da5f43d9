import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy, normalize

from analysis_lib import UserError
from analysis_lib.analysis.metrics.linear_probe import (
    LEARNING_RATES,
    STRENGTH,
    adamw_probes,
    fit_probe,
    linear_probe_scores,
)


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


def drawn(random, noise, n=300, classes=5, width=8):
    """Unit features of classes around random centres, and their labels."""
    centres = normalize(torch.randn(classes, width, generator=torch.Generator().manual_seed(1)).double(), dim=1)
    labels = torch.arange(n) % classes
    spread = noise * torch.randn(n, width, generator=random, dtype=torch.float64)
    return normalize(centres[labels] + spread, dim=1), labels


def test_probes_of_several_rates_at_once_equal_torchs_adamw_on_each_alone(random):
    features, labels = drawn(random, 0.4, n=60)
    for probe in adamw_probes(features, labels, 5, LEARNING_RATES, steps=30):
        layer = torch.nn.Linear(8, 5, dtype=torch.float64)
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        optimizer = torch.optim.AdamW(layer.parameters(), lr=probe.lr)
        for _ in range(30):
            optimizer.zero_grad()
            cross_entropy(layer(features), labels).backward()
            optimizer.step()
        assert torch.allclose(probe.weight, layer.weight, rtol=1e-6, atol=1e-8)
        assert torch.allclose(probe.bias, layer.bias, rtol=1e-6, atol=1e-8)
        assert torch.allclose(probe.scores(features), layer(features), rtol=1e-6, atol=1e-8)


def test_the_probe_of_the_protocol_and_scikit_learn_agree_on_separable_data(random):
    (features, labels), (test, truth) = drawn(random, 0.05), drawn(random, 0.05, n=500)
    probe = fit_probe(features, labels, 5, random)
    other = LogisticRegression(C=100.0, max_iter=1000).fit(features.numpy(), labels.numpy())
    found = probe.scores(test).argmax(1)
    assert (found == truth).all() and (found.numpy() == other.predict(test.numpy())).all()


def test_the_probe_of_the_protocol_and_scikit_learn_agree_on_noisy_data(random):
    """Where the classes overlap the unpenalised optimum is finite, and AdamW with its slight decay comes close."""
    (features, labels), (test, truth) = drawn(random, 0.4, n=1000), drawn(random, 0.4, n=2000)
    probe = fit_probe(features, labels, 5, random)
    other = LogisticRegression(C=torch.inf, max_iter=1000).fit(features.numpy(), labels.numpy())
    mine, theirs = probe.scores(test), torch.from_numpy(other.decision_function(test.numpy()))
    accuracy, expected = ((scores.argmax(1) == truth).double().mean().item() for scores in (mine, theirs))
    assert 0.5 < expected < 0.95 and abs(accuracy - expected) < 0.01
    assert (mine.argmax(1) == theirs.argmax(1)).double().mean() > 0.97
    losses = [cross_entropy(scores, truth).item() for scores in (mine, theirs)]
    assert losses[0] < losses[1] * 1.02


@pytest.mark.parametrize(("n", "held"), [(60, 6), (12, 1)])
def test_the_rate_is_the_smallest_of_the_best_on_the_held_out_tenth(random, n, held):
    """Of few samples, so that the rate depends on which are held out."""
    features, labels = drawn(random, 0.4, n=n)
    features, chosen = 0.1 * features, set()
    for seed in range(5):
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
        choosing, rest = order[:held], order[held:]
        tried = adamw_probes(features[rest], labels[rest], 5, LEARNING_RATES)
        right = [(probe.scores(features[choosing]).argmax(1) == labels[choosing]).sum().item() for probe in tried]
        best = next(rate for rate, score in zip(LEARNING_RATES, right) if score == max(right))
        probe = fit_probe(features, labels, 5, torch.Generator().manual_seed(seed))
        assert probe.lr == best
        (alone,) = adamw_probes(features, labels, 5, [best])
        assert torch.equal(probe.weight, alone.weight) and torch.equal(probe.bias, alone.bias)
        chosen.add(best)
    assert len(chosen) > 1


def test_two_samples_are_enough(random):
    probe = fit_probe(torch.eye(2), torch.tensor([0, 1]), 4, random)  # of four classes, two without samples
    assert probe.weight.shape == (4, 2) and probe.bias.shape == (4,)
    assert probe.scores(torch.eye(2)).argmax(1).tolist() == [0, 1]


def test_a_probe_needs_samples_and_their_labels(random):
    for n, labels in ((1, [0]), (4, [0, 1])):
        with pytest.raises(UserError, match="linear probe got . samples and . labels"):
            fit_probe(torch.ones(n, 3), torch.tensor(labels), 2, random)
