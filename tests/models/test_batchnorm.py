"""BatchNorm's pooled statistics against torch on all the data at once."""

import copy

import pytest
import torch
from torch import nn

from analysis_lib.models.batchnorm import batch_statistics, batchnorms, reestimate

SIZES = {"even": [5, 5, 5], "uneven": [2, 9, 4], "one batch": [15]}


@pytest.fixture
def images(random):
    return 100 + torch.randn(15, 3, 6, 6, generator=random, dtype=torch.float64)


@pytest.fixture
def one_norm():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)).double()


@pytest.fixture
def two_norms():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)
    ).double()


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_statistics_are_those_of_all_batches_together(one_norm, images, sizes):
    reestimate(one_norm, images.split(sizes))
    h = one_norm[0](images).transpose(0, 1).flatten(1)
    assert torch.allclose(one_norm[1].running_mean, h.mean(1), rtol=1e-12, atol=0)
    assert torch.allclose(one_norm[1].running_var, h.var(1), rtol=1e-9, atol=0), "unbiased"


def test_they_are_those_of_one_batch_in_train_mode(one_norm, images):
    whole = copy.deepcopy(one_norm)
    whole[1].momentum = 1.0
    whole.train()(images)
    reestimate(one_norm, images.split([2, 9, 4]))
    assert torch.allclose(one_norm[1].running_mean, whole[1].running_mean, rtol=1e-12, atol=0)
    assert torch.allclose(one_norm[1].running_var, whole[1].running_var, rtol=1e-9, atol=0)


def test_a_later_layer_sees_what_it_sees_in_training(two_norms, images):
    """Each batch is normalised by its own statistics on its way."""
    batches = images.split([2, 9, 4])
    with torch.no_grad():
        later = torch.cat([two_norms[:4].train()(x) for x in batches]).transpose(0, 1).flatten(1)
    reestimate(two_norms, batches)
    assert torch.allclose(two_norms[4].running_mean, later.mean(1), rtol=1e-12, atol=1e-14)
    assert torch.allclose(two_norms[4].running_var, later.var(1), rtol=1e-9, atol=0)


@pytest.mark.parametrize("shape", [(15, 4), (15, 4, 7)])
def test_vectors_and_sequences(random, shape):
    x = torch.randn(shape, generator=random)
    layer = nn.Sequential(nn.BatchNorm1d(4))
    reestimate(layer, x.split([7, 8]))
    h = x.transpose(0, 1).flatten(1).double()
    assert torch.allclose(layer[0].running_mean.double(), h.mean(1), atol=1e-6)
    assert torch.allclose(layer[0].running_var.double(), h.var(1), rtol=1e-6)


@pytest.mark.parametrize("momentum", [None, 0.0, 0.01, 0.9])
@pytest.mark.parametrize("before", [0.0, 1e6])
def test_neither_momentum_nor_the_statistics_before_matter(two_norms, images, momentum, before):
    other = copy.deepcopy(two_norms)
    for layer in batchnorms(other):
        layer.momentum = momentum
        layer.running_mean.fill_(before)
    for model in (two_norms, other):
        reestimate(model, images.split([7, 8]))
    for one, two in zip(batchnorms(two_norms), batchnorms(other)):
        assert torch.equal(one.running_mean, two.running_mean) and torch.equal(one.running_var, two.running_var)
        assert two.momentum == momentum


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_modes_momentum_and_weights_are_restored_even_after_an_error(two_norms, images, fails, training):
    two_norms.train(training)
    two_norms[1].train(not training)
    two_norms[1].momentum, two_norms[4].momentum = 0.3, None
    modes = [module.training for module in two_norms.modules()]
    weights = [parameter.clone() for parameter in two_norms.parameters()]

    def batches():
        yield images
        if fails:
            raise KeyboardInterrupt
        yield images[:4]

    if fails:
        means = [layer.running_mean.clone() for layer in batchnorms(two_norms)]
        with pytest.raises(KeyboardInterrupt):
            reestimate(two_norms, batches())
        assert all(torch.equal(layer.running_mean, mean) for layer, mean in zip(batchnorms(two_norms), means))
    else:
        reestimate(two_norms, batches())
    assert [module.training for module in two_norms.modules()] == modes
    assert (two_norms[1].momentum, two_norms[4].momentum) == (0.3, None)
    assert all(torch.equal(*pair) for pair in zip(weights, two_norms.parameters()))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in two_norms.parameters())
    assert not any(module._forward_pre_hooks for module in two_norms.modules())


def test_dropout_is_inactive(one_norm, images):
    dropping = nn.Sequential(nn.Dropout(0.5), *copy.deepcopy(one_norm)).train()
    reestimate(dropping, images.split(5))
    reestimate(one_norm, images.split(5))
    assert torch.equal(dropping[2].running_mean, one_norm[1].running_mean)
    assert torch.equal(dropping[2].running_var, one_norm[1].running_var)


def test_without_batchnorm_no_image_is_read():
    def batches():
        raise AssertionError
        yield

    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.LayerNorm(6), nn.BatchNorm2d(4, track_running_stats=False))
    assert batchnorms(model) == []
    reestimate(model, batches())


def test_a_layer_that_is_not_used_keeps_its_statistics(images):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x):
            return self.used(x)

    model = Network().double()
    reestimate(model, images.split(5))
    assert (model.unused.running_mean == 0).all() and (model.unused.running_var == 1).all()
    assert torch.allclose(model.used.running_mean, images.mean((0, 2, 3)), rtol=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_batch_statistics_give_the_outputs_of_train_mode_and_no_trace(two_norms, images, training):
    with torch.no_grad():
        expected = copy.deepcopy(two_norms).train()(images)
        two_norms.train(training)
        kept = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in batchnorms(two_norms)]
        with batch_statistics(two_norms):
            assert torch.equal(two_norms(images), expected)
    for layer, (mean, variance) in zip(batchnorms(two_norms), kept):
        assert torch.equal(layer.running_mean, mean) and torch.equal(layer.running_var, variance)
        assert layer.training == training and layer.momentum == 0.1
