"""Losses that hold on to the network before fine-tuning: distillation, feature distance, LDIFS and L2SP."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from analysis_lib.methods.distill import Distill, DistillAbsent
from analysis_lib.methods.feature_distance import LDIFS, FeatureDistance, stage_distance
from analysis_lib.methods.finetune import FineTune
from analysis_lib.methods.l2sp import L2SP
from analysis_lib.models.backbone import features_and_logits
from analysis_lib.models.stages import stages_and_logits

ABSENT = [0, 3]
PULLED_BACK = [FeatureDistance(), LDIFS(), LDIFS(axis="token"), Distill(), DistillAbsent(), L2SP()]


@pytest.fixture
def moved(network, data):
    """A function: a network whose weights have moved since the method was prepared on it."""

    def make(method, name="digits_cnn"):
        model = network(name).train()
        method.prepare(model, data())
        draws = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.02 * torch.randn(parameter.shape, generator=draws)
        return model

    return make


@pytest.mark.parametrize("name", ["digits_cnn", "test_resnet", "test_efficientnet", "test_vit", "test_convnext"])
def test_at_the_first_step_there_is_no_penalty(network, data, batch, name):
    """BatchNorm is in train mode."""
    x, labels = batch
    for method in PULLED_BACK:
        model = network(name).train()
        method.prepare(model, data())
        loss, logits = method.loss(model, x, labels)
        assert torch.equal(loss, cross_entropy(logits, labels)), method
        assert torch.equal(logits, network(name).train()(x)), method


@pytest.mark.parametrize("name", ["digits_cnn", "test_vit"])
@pytest.mark.parametrize("method", PULLED_BACK, ids=str)
def test_a_moved_network_is_penalised_and_alone_gets_a_gradient(moved, batch, method, name):
    model, (x, labels) = moved(method, name), batch
    loss, logits = method.loss(model, x, labels)
    assert loss > cross_entropy(logits, labels)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    if hasattr(method, "_reference"):
        kept = list(method._reference.model.parameters())
        assert kept and not any(parameter.requires_grad or parameter.grad is not None for parameter in kept)


def test_the_pull_of_l2sp_is_linear_in_the_distance_and_spares_the_head(moved, network, batch):
    method = L2SP(weight=0.3)
    model, start, (x, labels) = moved(method), network(), batch
    loss, logits = method.loss(model, x, labels)
    names, parameters = zip(*model.named_parameters())
    penalty = torch.autograd.grad(
        loss - cross_entropy(logits, labels), parameters, retain_graph=True, materialize_grads=True
    )
    whole = torch.autograd.grad(loss, parameters, retain_graph=True)
    plain = torch.autograd.grad(cross_entropy(logits, labels), parameters)
    for name, parameter, before, *found in zip(names, parameters, start.parameters(), penalty, whole, plain):
        if name.startswith("head"):
            assert torch.equal(found[1], found[2]), "the head's gradient is that of cross-entropy, to the byte"
        else:
            pull = 2 * 0.3 * (parameter - before)
            assert torch.allclose(found[0], pull, atol=1e-12) and torch.allclose(found[1] - found[2], pull, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("kind", "columns"), [(Distill, range(6)), (DistillAbsent, ABSENT)])
def test_distillation_is_the_textbook_formula(moved, network, batch, kind, columns, temperature):
    method = kind(weight=0.7, temperature=temperature)
    model, (x, labels) = moved(method), batch
    loss, logits = method.loss(model, x, labels)
    before = network().train()(x)
    penalty = 0.0
    for old, new in zip(before.tolist(), logits.tolist()):
        p, q = (torch.tensor([z[c] / temperature for c in columns], dtype=torch.float64).softmax(0) for z in (old, new))
        penalty += temperature**2 * sum(p * (p / q).log()).item() / len(x)
    assert penalty > 1e-6
    assert (loss - cross_entropy(logits, labels)).item() == pytest.approx(0.7 * penalty, rel=1e-9)


def test_distillation_of_absent_logits_leaves_the_seen_ones_free(moved, batch):
    method = DistillAbsent(weight=5.0)
    model, (x, labels) = moved(method), batch
    loss, logits = method.loss(model, x, labels)
    (whole,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (plain,) = torch.autograd.grad(cross_entropy(logits, labels), logits)
    seen = [1, 2, 4, 5]
    assert torch.equal(whole[:, seen], plain[:, seen]) and not torch.allclose(whole[:, ABSENT], plain[:, ABSENT])
    assert (whole - plain)[:, ABSENT].sum(1).abs().max() < 1e-12, "their common level is free"


@pytest.mark.parametrize("absent", [[], [3]])
def test_distillation_of_no_or_one_absent_logit_is_plain_fine_tuning(network, data, batch, absent):
    toy, (x, labels) = data(), batch
    toy.labels[:] = torch.arange(len(toy.labels)) % 6
    object.__setattr__(toy, "classes", torch.tensor([c for c in range(6) if c not in absent]))
    method, model = DistillAbsent(), network().train()
    method.prepare(model, toy)
    with torch.no_grad():
        model.head.weight += 0.1 * torch.randn(6, 64)
    loss, logits = method.loss(model, x, labels)
    assert torch.equal(loss, cross_entropy(logits, labels))


def test_the_feature_distance_is_relative_to_the_features_before(moved, network, batch):
    method = FeatureDistance(weight=0.7)
    model, (x, labels) = moved(method), batch
    loss, logits = method.loss(model, x, labels)
    features = [features_and_logits(net.train(), x)[0].tolist() for net in (network(), model)]
    distance = 0.0
    for before, now in zip(*features):
        distance += sum((a - b) ** 2 for a, b in zip(before, now)) / sum(a**2 for a in before) / len(x)
    assert (loss - cross_entropy(logits, labels)).item() == pytest.approx(0.7 * distance, rel=1e-9)


def brute_force(stages, start, axis):
    """The LDIFS distance, number by number, from features (B, P, D)."""
    found = []
    for now, before in zip(stages, start):
        samples, positions, channels = now.shape
        for b in range(samples):
            total = 0.0
            for p in range(positions):
                for d in range(channels):
                    unit = []
                    for h in (now, before):
                        line = h[b, p] if axis == "channel" else h[b, :, d]
                        unit.append((h[b, p, d] / (line.norm() + 1e-10)).item())
                    total += (unit[0] - unit[1]) ** 2
            found.append(total / (positions * channels))
    return sum(found) / len(found)


@pytest.mark.parametrize("axis", ["channel", "token"])
def test_ldifs_is_the_formula(random, axis):
    stages, start = (
        [torch.randn(3, p, d, generator=random, dtype=torch.float64) for p, d in ((9, 2), (4, 5), (1, 3))]
        for _ in range(2)
    )
    assert stage_distance(stages, start, axis).item() == pytest.approx(brute_force(stages, start, axis), rel=1e-12)
    assert stage_distance(start, start, axis) == 0
    scaled = [3.0 * h for h in stages]
    assert torch.allclose(stage_distance(scaled, start, axis), stage_distance(stages, start, axis), rtol=1e-9)


@pytest.mark.parametrize("axis", ["channel", "token"])
@pytest.mark.parametrize("name", ["digits_cnn", "test_vit"])
def test_the_loss_of_ldifs_is_that_distance(moved, network, data, batch, name, axis):
    method = LDIFS(weight=0.7, axis=axis)
    model, (x, labels) = moved(method, name), batch
    x, labels = x[:2], labels[:2]
    loss, logits = method.loss(model, x, labels)
    stages, start = (stages_and_logits(net.train(), x)[0] for net in (model, network(name)))
    # the last stage has few positions, and so a short loop; all stages are compared with it by the library's function
    assert loss.item() == pytest.approx(
        cross_entropy(logits, labels).item() + 0.7 * stage_distance(stages, start, axis).item(), rel=1e-12
    )
    last = [h.detach()[:, :, :8] for h in (stages[-1], start[-1])]
    assert stage_distance([last[0]], [last[1]], axis).item() == pytest.approx(
        brute_force([last[0]], [last[1]], axis), rel=1e-9
    )


@pytest.mark.parametrize("axis", ["channel", "token"])
def test_the_distance_of_ldifs_is_at_most_4_over_the_length_and_opposites_reach_it(random, axis):
    h = torch.randn(2, 7, 5, generator=random, dtype=torch.float64)
    bound = 4 / {"channel": 5, "token": 7}[axis]
    assert stage_distance([h], [-h], axis).item() == pytest.approx(bound, rel=1e-6)
    for _ in range(20):
        other = torch.randn(2, 7, 5, generator=random, dtype=torch.float64)
        assert 0 < stage_distance([h], [other], axis) < bound


@pytest.mark.parametrize("axis", ["channel", "token"])
def test_zeros_give_a_finite_gradient(random, axis):
    h = torch.randn(2, 4, 3, generator=random, dtype=torch.float64)
    h[0, 1], h[1, :, 2] = 0, 0
    now = h.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(stage_distance([now], [h], axis), now)
    assert gradient.isfinite().all()
    assert torch.autograd.gradcheck(
        lambda z: stage_distance([z], [h], axis), torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    )


@pytest.mark.parametrize("kind", [FeatureDistance, LDIFS])
def test_more_weight_keeps_the_features_nearer(fit, network, batch, kind):
    start, distances = stages_and_logits(network(), batch[0])[0][-1:], []
    for weight in (0.0, 1.0, 30.0):
        model = fit(kind(weight=100 * weight if kind is LDIFS else weight), lr=0.005, epochs=3)
        distances.append(stage_distance(stages_and_logits(model.eval(), batch[0])[0][-1:], start).item())
    assert distances == sorted(distances, reverse=True) and distances[2] < 0.9 * distances[0]


def test_more_weight_of_l2sp_keeps_the_backbone_nearer(fit, network):
    start, found = dict(network().named_parameters()), []
    for weight in (0.0, 0.1, 1.0):
        model = fit(L2SP(weight=weight), weight_decay=0.0)
        found.append(sum((p - start[n]).square().sum().item() for n, p in model.named_parameters() if "head" not in n))
    assert found == sorted(found, reverse=True) and found[2] < 0.9 * found[0]


def test_more_distillation_keeps_the_softmax_nearer(fit, network, batch):
    with torch.no_grad():
        start = network()(batch[0]).softmax(1)
        found = [
            (fit(method)(batch[0]).softmax(1) - start).abs().sum().item()
            for method in (FineTune(), Distill(weight=1.0), Distill(weight=10.0))
        ]
    assert found == sorted(found, reverse=True)
