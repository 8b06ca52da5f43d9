import copy

import pytest
import timm
import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn.functional import cross_entropy

from analysis_lib import UserError
from analysis_lib.analysis.influence import gradients
from analysis_lib.analysis.influence.gradients import actual_displacement, backbone_step, class_displacements, predicted_displacement, step_check
from analysis_lib.analysis.influence.head_step import feature_gradients
from analysis_lib.analysis.influence.kernel import class_kernel, normalized_kernel, self_kernel
from analysis_lib.models import backbone, digits_cnn

# torch's own forward-mode formulas are compiled at their first use


def settle(model, random, dtype=torch.float64):
    """Eval mode, with BatchNorm statistics and scales that are not their starting values."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean += 0.2 * torch.randn(module.running_mean.shape, generator=random)
            module.running_var *= 0.5 + torch.rand(module.running_var.shape, generator=random)
            module.weight.data *= 0.5 + torch.rand(module.weight.shape, generator=random)
    return model.to(dtype).eval()


@pytest.fixture
def model(random):
    torch.manual_seed(0)
    return settle(digits_cnn.DigitsCNN(), random)


@pytest.fixture
def narrow(random):
    """A narrow network whose Jacobian fits in memory, D = 12."""
    torch.manual_seed(0)
    model = digits_cnn.DigitsCNN()
    model.blocks = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, bias=False), nn.BatchNorm2d(12), nn.ReLU())
    model.head = nn.Linear(12, 10)
    return settle(model, random)


@pytest.fixture
def data(random):
    """Fine-tuning images of the classes 1, 3, 4, and targets."""
    images, targets = (torch.rand(n, 3, 16, 16, generator=random, dtype=torch.float64) for n in (24, 7))
    return images, torch.tensor([1, 3, 4, 3, 3, 1, 4, 1]).repeat(3), targets


def jacobians(model, images):
    """J(x) of each image, (N, D, P), by reverse mode one output at a time."""
    theta = {name: value.detach() for name, value in model.named_parameters() if not name.startswith("head.")}

    def features(theta, x):
        return functional_call(model.blocks, {name.removeprefix("blocks."): value for name, value in theta.items()}, (x[None],)).mean((0, 2, 3))

    return torch.stack([torch.cat([part.flatten(1) for part in jacrev(features)(theta, x).values()], 1) for x in images])


def normal_probes(count, random, width=12):
    return torch.randn(count, width, generator=random, dtype=torch.float64)


EXACT = 12**0.5 * torch.eye(12, dtype=torch.float64)  # the mean over these probes is the trace itself


def test_the_step_is_minus_the_gradient_that_autograd_finds(model, data):
    images, labels, _ = data
    step = backbone_step(model, images, labels, batch_size=7)
    cross_entropy(model(images), labels).backward()
    gradients = {name: value.grad for name, value in model.named_parameters() if not name.startswith("head.")}
    assert step.keys() == gradients.keys()
    assert all(torch.allclose(step[name], -gradients[name], rtol=1e-9, atol=1e-14) for name in step)


def test_shares_of_disjoint_rows_add_up_to_the_step(model, data):
    images, labels, _ = data
    whole = backbone_step(model, images, labels)
    parts = [backbone_step(model, images, labels, rows, batch_size=5) for rows in torch.arange(24).split([1, 10, 13])]
    assert all(torch.allclose(sum(part[name] for part in parts), whole[name], rtol=1e-9, atol=1e-14) for name in whole)


def test_the_prediction_is_the_jacobian_times_the_step(model, data):
    images, labels, targets = data
    step = backbone_step(model, images, labels)
    expected = jacobians(model, targets[:3]) @ torch.cat([part.flatten() for part in step.values()])
    assert torch.allclose(predicted_displacement(model, targets[:3], step, batch_size=2), expected, rtol=1e-9, atol=1e-14)


def test_the_actual_displacement_is_that_of_a_network_with_moved_weights(model, data):
    images, labels, targets = data
    step, moved = backbone_step(model, images, labels), copy.deepcopy(model)
    for name, value in step.items():
        moved.get_parameter(name).data += 0.3 * value
    before, after = (backbone.features_and_logits(network, targets)[0] for network in (model, moved))
    assert torch.allclose(actual_displacement(model, targets, step, 0.3, batch_size=3), after - before, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("activation, largest", [(nn.ReLU, 2.0**-16), (nn.Softplus, 2.0**-5)])
def test_the_error_of_the_prediction_falls_linearly(model, data, activation, largest):
    """With ReLU, once no unit changes side between the two weights."""
    images, labels, targets = data
    for place in (2, 5, 8):
        model.blocks[place] = activation().eval()
    etas = [largest / 2**halvings for halvings in range(6)]
    table = step_check(model, targets, backbone_step(model, images, labels), etas)
    assert table["eta"].tolist() == etas
    assert (table["cosine"] > 0.99).all() and (table["relative_error"] > 0).all()
    ratios = table["relative_error"].to_numpy()[:-1] / table["relative_error"].to_numpy()[1:]
    assert ratios == pytest.approx([2] * 5, rel=0.1)


def test_at_a_usual_learning_rate_the_prediction_points_the_right_way(model, data):
    images, labels, targets = data
    table = step_check(model, targets, backbone_step(model, images, labels), [0.1, 0.01, 0.001])
    assert (table["cosine"] > 0.985).all() and table["cosine"].is_monotonic_increasing and table["relative_error"].is_monotonic_decreasing


def test_the_check_is_over_all_targets_together(model, data):
    images, labels, targets = data
    step = backbone_step(model, images, labels)
    row = step_check(model, targets, step, [0.5]).iloc[0]
    predicted, actual = 0.5 * predicted_displacement(model, targets, step), actual_displacement(model, targets, step, 0.5)
    assert row["cosine"] == pytest.approx(torch.cosine_similarity(predicted.flatten(), actual.flatten(), dim=0).item())
    each = [((p - a).norm() / a.norm()).item() for p, a in zip(predicted, actual)]
    assert row["relative_error"] == pytest.approx(sum(each) / len(each))


def test_class_displacements_add_up_and_belong_to_their_class(model, data):
    images, labels, targets = data
    each = torch.stack(list(class_displacements(model, images, labels, targets, batch_size=5)))
    whole = predicted_displacement(model, targets, backbone_step(model, images, labels))
    assert each.shape == (3, 7, 64)
    assert torch.allclose(each.sum(0), whole, rtol=0, atol=1e-8 * whole.abs().max().item())
    alone = backbone_step(model, images[labels == 3], labels[labels == 3])
    share = (labels == 3).double().mean()
    assert torch.allclose(each[1], share * predicted_displacement(model, targets, alone), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv3_small_050", "resnet10t", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_loss_falls_by_the_squared_length_of_the_step(name, dtype, random):
    """Forward and reverse mode agree in any timm model: mean_i g_i . J(x_i) step = -||step||^2."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=4, **({"img_size": 32, "depth": 2} if name.startswith("vit") else {}))
    model = settle(model, random, dtype).to(memory_format=torch.channels_last)
    images = torch.rand(3, 3, 32, 32, generator=random).to(dtype).contiguous(memory_format=torch.channels_last)
    labels = torch.tensor([0, 2, 2])
    with torch.no_grad():
        _, logits = backbone.features_and_logits(model, images)
    step = backbone_step(model, images, labels)
    gradients = feature_gradients(logits, labels, model.get_classifier().weight.detach())
    fall = (gradients * predicted_displacement(model, images, step)).sum(1).mean().item()
    length = sum(part.double().square().sum().item() for part in step.values())
    assert length > 0 and fall == pytest.approx(-length, rel=1e-9 if dtype == torch.float64 else 1e-3)


def test_the_kernel_is_the_trace_and_self_kernel_its_diagonal(narrow, data, monkeypatch):
    """With sqrt(D) times the unit vectors as probes the estimate is the trace; blocks and batches do not matter."""
    images, labels, targets = data[0][:6], data[1][:6], data[2][:3]
    ours, theirs = jacobians(narrow, images), jacobians(narrow, targets)
    traces = torch.einsum("tdp,sdp->ts", theirs, ours) / 12
    expected = torch.stack([traces[:, labels == c].mean(1) for c in (1, 3, 4)], 1)
    for memory, batch_size in ((0, 2), (2 * 8 * ours.shape[2], 2), (2**20, 64)):  # one class at a time, two, and all
        assert torch.allclose(class_kernel(narrow, images, labels, targets, EXACT, memory, batch_size)[0], expected, rtol=1e-9)
    calls = []
    real = gradients.Backbone.pull_probes
    monkeypatch.setattr(gradients.Backbone, "pull_probes", lambda *given: calls.append(1) or real(*given))
    for memory, blocks in ((0, 3), (2 * 8 * ours.shape[2], 2), (2**20, 1)):
        calls.clear()
        class_kernel(narrow, images, labels, targets, EXACT, memory, 1)
        assert len(calls) == 12 * (6 + blocks * 3)
    monkeypatch.undo()
    single = class_kernel(narrow, images, torch.arange(6), targets, EXACT)[0]
    assert torch.allclose(single, traces, rtol=1e-9)
    assert torch.allclose(self_kernel(narrow, images, EXACT)[0], ours.square().sum((1, 2)) / 12, rtol=1e-9)


def test_random_probes_give_the_kernel_within_their_standard_error(narrow, data, random):
    images, labels, targets = data[0][:4], data[1][:4], data[2][:2]
    ours, theirs = jacobians(narrow, images), jacobians(narrow, targets)
    means = torch.stack([ours[labels == c].mean(0) for c in (1, 3, 4)])
    products = torch.einsum("tdp,kep->tkde", theirs, means) / 12
    truth = products.diagonal(dim1=2, dim2=3).sum(2)

    estimate, error = class_kernel(narrow, images, labels, targets, normal_probes(20, random))
    assert ((estimate - truth).abs() < 3 * error).all()
    many, small = class_kernel(narrow, images, labels, targets, normal_probes(200, random))
    assert ((many - truth).abs() < 3 * small).all() and (small < error / 2).all()
    symmetric = (products + products.mT) / 2
    theory = (2 * symmetric.square().sum((2, 3)) / 200).sqrt()  # the variance of v' A v for normal v
    assert torch.allclose(small, theory, rtol=0.2)

    own, own_error = self_kernel(narrow, targets, normal_probes(400, random))
    assert ((own - theirs.square().sum((1, 2)) / 12).abs() < 3 * own_error).all() and (own_error < 0.2 * own).all()


def test_with_common_probes_the_normalized_kernel_is_a_cosine(narrow, data, random):
    images, labels, targets = data[0][:6], data[1][:6], data[2][:3]
    probes = normal_probes(3, random)
    own, single = self_kernel(narrow, images, probes)[0], torch.arange(6)
    square = normalized_kernel(class_kernel(narrow, images, single, images, probes)[0], own, own, single)
    assert torch.allclose(square.diagonal(), torch.ones(6, dtype=torch.float64)) and torch.allclose(square, square.T)
    assert (square.abs() <= 1 + 1e-12).all() and square.min() < 0.99
    by_class = normalized_kernel(class_kernel(narrow, images, labels, targets, probes)[0], self_kernel(narrow, targets, probes)[0], own, labels)
    assert (by_class.abs() <= 1).all()


class Loader:
    """Images that exist only when they are asked for; remembers the largest batch."""

    def __init__(self, images):
        self.images, self.largest = images, 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, rows):
        self.largest = max(self.largest, len(rows))
        return self.images[rows]


def test_images_are_loaded_one_batch_at_a_time(model, data, random):
    images, labels, targets = data
    source, goal = Loader(images), Loader(targets)
    probes = normal_probes(2, random, 64)
    each = torch.stack(list(class_displacements(model, source, labels, goal, batch_size=4)))
    kernel = class_kernel(model, source, labels, goal, probes, batch_size=4)[0]
    assert (source.largest, goal.largest) == (4, 4)
    assert torch.allclose(each, torch.stack(list(class_displacements(model, images, labels, targets))), rtol=1e-9, atol=1e-14)
    assert torch.allclose(kernel, class_kernel(model, images, labels, targets, probes)[0], rtol=1e-9)


def test_frozen_weights_count_too_and_the_model_stays_as_it_is(model, data, random):
    images, labels, targets = data
    expected = predicted_displacement(model, targets, backbone_step(model, images, labels))
    before = copy.deepcopy(model.state_dict())
    model.requires_grad_(False)
    step = backbone_step(model, images, labels)
    found = predicted_displacement(model, targets, step)
    actual_displacement(model, targets, step, 1.0)
    class_kernel(model, images, labels, targets, normal_probes(2, random, 64))
    assert torch.equal(found, expected) and not found.requires_grad and not any(part.requires_grad for part in step.values())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(value.grad is None and not value.requires_grad for value in model.parameters())
    assert not any(module.training for module in model.modules())


def test_says_what_does_not_fit(model, data, random):
    images, labels, targets = data
    step, probes = backbone_step(model, images, labels), normal_probes(2, random, 64)
    with pytest.raises(UserError, match=r"labels have shape \(23,\); expected \(24,\)"):
        backbone_step(model, images, labels[1:])
    with pytest.raises(UserError, match="labels span 2..11; expected 0..9"):
        backbone_step(model, images[:2], torch.tensor([2, 11]))
    with pytest.raises(UserError, match=r"labels have shape \(23,\)"):
        class_kernel(model, images, labels[1:], targets, probes)
    for call in (predicted_displacement, lambda *args: actual_displacement(*args, 1.0), lambda *args: step_check(*args, [1.0])):
        with pytest.raises(UserError, match=r"does not fit the backbone at 'head.bias' \(1 of 9 parameters\)"):
            call(model, targets, step | {"head.bias": model.head.bias})
        with pytest.raises(UserError, match=r"does not fit the backbone at 'blocks.1.bias'"):
            call(model, targets, step | {"blocks.1.bias": step["blocks.1.bias"][:1]})
    for bad in (probes[:1], probes[:, 1:], probes[0]):
        for call, arguments in ((class_kernel, (images, labels, targets)), (self_kernel, (images,))):
            with pytest.raises(UserError, match=r"expected \(R, 64\) with at least two rows"):
                call(model, *arguments, bad)
    model.blocks[1].train()
    for call in (
        lambda: backbone_step(model, images, labels),
        lambda: predicted_displacement(model, targets, step),
        lambda: actual_displacement(model, targets, step, 1.0),
        lambda: next(class_displacements(model, images, labels, targets)),
        lambda: class_kernel(model, images, labels, targets, probes),
        lambda: self_kernel(model, images, probes),
    ):
        with pytest.raises(UserError, match="DigitsCNN is in train mode"):
            call()
