import copy

import pytest
import timm
import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn.functional import cross_entropy

from analysis_lib import UserError
from analysis_lib.analysis.influence.gradients import (
    actual_displacement,
    backbone_step,
    class_displacements,
    predicted_displacement,
    step_check,
)
from analysis_lib.analysis.influence.head_step import feature_gradients
from analysis_lib.analysis.influence.kernel import class_kernel, random_direction, tangent_features
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
        nn.Conv2d(3, 8, 3, 2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, 2, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
    )
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
        return functional_call(
            model.blocks, {name.removeprefix("blocks."): value for name, value in theta.items()}, (x[None],)
        ).mean((0, 2, 3))

    return torch.stack(
        [torch.cat([part.flatten(1) for part in jacrev(features)(theta, x).values()], 1) for x in images]
    )


def directions(model, count, random):
    return [random_direction(model, random) for _ in range(count)]


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
    assert torch.allclose(
        predicted_displacement(model, targets[:3], step, batch_size=2), expected, rtol=1e-9, atol=1e-14
    )


def test_the_actual_displacement_is_that_of_a_network_with_moved_weights(model, data):
    images, labels, targets = data
    step, moved = backbone_step(model, images, labels), copy.deepcopy(model)
    for name, value in step.items():
        moved.get_parameter(name).data += 0.3 * value
    before, after = (backbone.features_and_logits(network, targets)[0] for network in (model, moved))
    assert torch.allclose(
        actual_displacement(model, targets, step, 0.3, batch_size=3), after - before, rtol=1e-9, atol=1e-14
    )


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
    assert (
        (table["cosine"] > 0.985).all()
        and table["cosine"].is_monotonic_increasing
        and table["relative_error"].is_monotonic_decreasing
    )


def test_the_check_is_over_all_targets_together(model, data):
    images, labels, targets = data
    step = backbone_step(model, images, labels)
    row = step_check(model, targets, step, [0.5]).iloc[0]
    predicted, actual = (
        0.5 * predicted_displacement(model, targets, step),
        actual_displacement(model, targets, step, 0.5),
    )
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


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "mobilenetv3_small_050", "resnet10t", "vit_tiny_patch16_224"]
)
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


def unit_steps(model):
    """sqrt(P) times the unit vectors of parameter space: the mean over these directions is the kernel itself."""
    theta = {name: value.detach() for name, value in model.named_parameters() if not name.startswith("head.")}
    size = sum(value.numel() for value in theta.values())
    for row in size**0.5 * torch.eye(size, dtype=torch.float64):
        parts = row.split([value.numel() for value in theta.values()])
        yield {name: part.view_as(value) for (name, value), part in zip(theta.items(), parts)}


def test_the_kernel_is_the_trace_of_the_product_of_jacobians(data, random):
    """Over all directions; the Jacobians by reverse mode, one output at a time."""
    torch.manual_seed(0)
    tiny = digits_cnn.DigitsCNN()
    tiny.blocks = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3, 2), nn.ReLU()
    )
    tiny.head = nn.Linear(5, 10)
    settle(tiny, random)
    images, labels, targets = data[0][:6], data[1][:6], data[2][:3]
    ours, theirs = jacobians(tiny, images), jacobians(tiny, targets)
    traces, own = torch.einsum("tdp,sdp->ts", theirs, ours), ours.square().sum((1, 2))
    expected = torch.stack(
        [
            traces[:, labels == c].mean(1) / (theirs.square().sum((1, 2)) * own[labels == c].mean()).sqrt()
            for c in (1, 3, 4)
        ],
        1,
    )
    tangents = tangent_features(tiny, torch.cat([targets, images]), list(unit_steps(tiny)))
    found, _ = class_kernel(tangents[:, :3], tangents[:, 3:], labels)
    assert torch.allclose(found, expected, rtol=1e-9)
    single, _ = class_kernel(tangents[:, :3], tangents[:, 3:], torch.arange(6))
    alone = traces / (theirs.square().sum((1, 2))[:, None] * own).sqrt()
    assert torch.allclose(single, alone, rtol=1e-9)


def test_random_directions_give_the_kernel_within_their_standard_error(narrow, data, random):
    images, labels, targets = data[0][:4], data[1][:4], data[2][:2]
    ours, theirs = jacobians(narrow, images), jacobians(narrow, targets)
    means = torch.stack([ours[labels == c].mean(0) for c in (1, 3, 4)])
    own = torch.stack([ours[labels == c].square().sum((1, 2)).mean() for c in (1, 3, 4)])
    scale = (theirs.square().sum((1, 2))[:, None] * own).sqrt()
    truth = torch.einsum("tdp,kdp->tk", theirs, means) / scale
    tangents = tangent_features(narrow, torch.cat([targets, images]), directions(narrow, 300, random))
    estimate, error = class_kernel(tangents[:, :2], tangents[:, 2:], labels)
    assert ((estimate - truth).abs() < 4 * error).all()
    products = torch.einsum("tdp,kdq->tkpq", theirs, means)
    symmetric = (products + products.mT) / 2
    diagonal = symmetric.diagonal(dim1=2, dim2=3).square().sum(2)
    theory = (2 * (symmetric.square().sum((2, 3)) - diagonal) / 300).sqrt() / scale  # of r' B r for random signs r
    assert torch.allclose(error, theory, rtol=0.3)


def test_the_normalized_kernel_is_a_cosine(narrow, data, random):
    images, labels = data[0][:6], data[1][:6]
    tangents = tangent_features(narrow, images, directions(narrow, 3, random))
    square, _ = class_kernel(tangents, tangents, torch.arange(6))
    assert torch.allclose(square.diagonal(), torch.ones(6, dtype=torch.float64)) and torch.allclose(square, square.T)
    assert (square.abs() <= 1 + 1e-12).all() and square.min() < 0.99
    by_class, _ = class_kernel(3 * tangents[:, 3:], tangents, labels)
    assert by_class.shape == (3, 3) and (by_class.abs() <= 1).all()


def test_a_random_direction_is_of_signs_and_the_same_whatever_the_layout(model):
    step = random_direction(model, torch.Generator().manual_seed(1))
    shapes = {name: value.shape for name, value in model.named_parameters() if not name.startswith("head.")}
    assert {name: part.shape for name, part in step.items()} == shapes
    every = torch.cat([part.flatten() for part in step.values()])
    assert set(every.tolist()) == {1.0, -1.0} and abs(every.mean()) < 5 / len(every) ** 0.5
    model.to(memory_format=torch.channels_last)
    again = random_direction(model, torch.Generator().manual_seed(1))
    assert all(torch.equal(step[name], again[name]) for name in step)
    other = random_direction(model, torch.Generator().manual_seed(2))
    assert any(not torch.equal(step[name], other[name]) for name in step)


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
    each = torch.stack(list(class_displacements(model, source, labels, goal, batch_size=4)))
    two = directions(model, 2, random)
    tangents = tangent_features(model, goal, two, batch_size=4)
    assert (source.largest, goal.largest) == (4, 4)
    assert torch.allclose(
        each, torch.stack(list(class_displacements(model, images, labels, targets))), rtol=1e-9, atol=1e-14
    )
    assert torch.allclose(tangents, tangent_features(model, targets, two), rtol=1e-9, atol=1e-12)
    for found, step in zip(tangents, two):
        assert torch.allclose(found, predicted_displacement(model, targets, step), rtol=1e-9, atol=1e-12)


def test_frozen_weights_count_too_and_the_model_stays_as_it_is(model, data, random):
    images, labels, targets = data
    expected = predicted_displacement(model, targets, backbone_step(model, images, labels))
    before = copy.deepcopy(model.state_dict())
    model.requires_grad_(False)
    step = backbone_step(model, images, labels)
    found = predicted_displacement(model, targets, step)
    actual_displacement(model, targets, step, 1.0)
    tangent_features(model, targets, directions(model, 2, random))
    assert (
        torch.equal(found, expected)
        and not found.requires_grad
        and not any(part.requires_grad for part in step.values())
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(value.grad is None and not value.requires_grad for value in model.parameters())
    assert not any(module.training for module in model.modules())


def test_says_what_does_not_fit(model, data, random):
    images, labels, targets = data
    step, two = backbone_step(model, images, labels), directions(model, 2, random)
    with pytest.raises(UserError, match=r"labels have shape \(23,\); expected \(24,\)"):
        backbone_step(model, images, labels[1:])
    with pytest.raises(UserError, match="labels span 2..11; expected 0..9"):
        backbone_step(model, images[:2], torch.tensor([2, 11]))
    for call in (
        predicted_displacement,
        lambda *args: actual_displacement(*args, 1.0),
        lambda *args: step_check(*args, [1.0]),
        lambda *args: tangent_features(*args[:2], [step, args[2]]),
    ):
        with pytest.raises(UserError, match=r"does not fit the backbone at 'head.bias' \(1 of 9 parameters\)"):
            call(model, targets, step | {"head.bias": model.head.bias})
        with pytest.raises(UserError, match=r"does not fit the backbone at 'blocks.1.bias'"):
            call(model, targets, step | {"blocks.1.bias": step["blocks.1.bias"][:1]})
    tangents = torch.zeros(2, 7, 64)
    for bad in (tangents[:1], tangents[0], tangents[:, :, 1:], tangents.repeat(2, 1, 1)):
        with pytest.raises(UserError, match=r"expected \(R, N', D\) and \(R, 24, D\) with R at least 2"):
            class_kernel(bad, torch.zeros(2, 24, 64), labels)
    two = torch.ones(2, 1, 3)
    assert class_kernel(two, two, torch.tensor([5]))[0].item() == pytest.approx(1), "two directions are enough"
    with pytest.raises(UserError, match=r"those of 23 labelled images \(2, 24, 64\)"):
        class_kernel(tangents, torch.zeros(2, 24, 64), labels[1:])
    model.blocks[1].train()
    for call in (
        lambda: backbone_step(model, images, labels),
        lambda: predicted_displacement(model, targets, step),
        lambda: actual_displacement(model, targets, step, 1.0),
        lambda: next(class_displacements(model, images, labels, targets)),
        lambda: random_direction(model, random),
        lambda: tangent_features(model, images, two),
    ):
        with pytest.raises(UserError, match="DigitsCNN is in train mode"):
            call()
