"""The frozen copy of a network."""

import pytest
import timm
import torch

from analysis_lib.models.backbone import features_and_logits
from analysis_lib.models.reference import Reference
from analysis_lib.models.stages import stages_and_logits


@pytest.fixture
def images(random):
    return torch.rand(4, 3, 32, 32, generator=random)


def make(name, **options):
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=5, **({"img_size": 32} if "vit" in name else {}), **options)


def snapshot(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit", "test_convnext"])
def test_the_reference_gives_what_the_network_gave_in_training(images, name, training):
    model = make(name).train(training)
    expected = [tensor.detach() for tensor in features_and_logits(make(name).train(), images)]
    reference = Reference(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    for _ in range(2):
        found = reference(features_and_logits, images)
        assert all(torch.equal(*pair) for pair in zip(found, expected))
    assert model.training == training and all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_nothing_of_the_reference_ever_changes_or_is_recorded(images, name):
    model = make(name).train()
    whole = snapshot(model)
    reference = Reference(model)
    before = snapshot(reference.model)
    assert set(whole) - set(before) == {key for key in whole if "num_batches" in key}, "the count of batches is gone"
    assert all(torch.equal(before[key], whole[key]) for key in before)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        stages, logits = stages_and_logits(model, images)
        start, start_logits = reference(stages_and_logits, images)
        assert not any(tensor.requires_grad or tensor.grad_fn for tensor in (*start, start_logits))
        loss = logits.logsumexp(1).mean() + sum((a - b).square().mean() for a, b in zip(stages, start))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = snapshot(reference.model)
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert any(not torch.equal(whole[key], tensor) for key, tensor in model.state_dict().items())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in reference.model.parameters())
    assert not any(module.training for module in reference.model.modules())


def test_dropout_is_inactive_in_the_reference(images):
    model = make("test_vit", drop_rate=0.5, drop_path_rate=0.5).train()
    reference = Reference(model)
    first, again = (reference(features_and_logits, images)[1] for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(model(images), model(images))
