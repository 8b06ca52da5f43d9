"""Which tensors move, and which keep their bytes, where a method trains a part of the network."""

import pytest
import torch
from torch import nn

from analysis_lib import UserError
from analysis_lib.methods.finetune import FineTune
from analysis_lib.methods.frozen import (
    BatchNormAffine,
    BatchNormStatistics,
    BitFit,
    FrozenHead,
    LinearProbe,
    ProbeThenFineTune,
)
from analysis_lib.models.batchnorm import reestimate

OPTIMIZERS = [{}, {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.1}]
NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm)


def moved(model, start):
    """The names of the tensors that do not have the bytes of the start, without BatchNorm's count of batches."""
    before = start.state_dict()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    return {name for name in changed if "num_batches" not in name}


def statistics(model):
    return {name for name in model.state_dict() if "running" in name}


def head(model):
    return {
        f"{name}.{end}"
        for name, m in model.named_modules()
        if m is model.get_classifier()
        for end in ("weight", "bias")
    }


def parameters(model):
    return {name for name, _ in model.named_parameters()}


def of_norms(model):
    return {f"{name}.{end}" for name, m in model.named_modules() if isinstance(m, NORMS) for end in ("weight", "bias")}


EXPECTED = {
    FineTune: lambda model: parameters(model) | statistics(model),
    LinearProbe: head,
    FrozenHead: lambda model: (parameters(model) | statistics(model)) - head(model),
    BatchNormStatistics: statistics,
    BatchNormAffine: lambda model: of_norms(model) | statistics(model),
    BitFit: lambda model: {name for name in parameters(model) if name.endswith("bias")} | statistics(model),
}


@pytest.mark.parametrize("changes", OPTIMIZERS, ids=["sgd", "adamw"])
@pytest.mark.parametrize("name", ["digits_cnn", "test_resnet", "test_vit"])
@pytest.mark.parametrize("kind", EXPECTED)
def test_exactly_the_named_part_moves(fit, network, kind, name, changes):
    start = network(name)
    found = moved(fit(kind(), name, epochs=1, **changes), start)
    assert found == EXPECTED[kind](start)


def test_the_linear_probe_trains_on_features_in_eval_mode(fit):
    modes = []

    class Watched(LinearProbe):
        def loss(self, model, x, labels):
            modes.append((model.blocks[1].training, model.training, model.head.training))
            return super().loss(model, x, labels)

    fit(Watched(), after_epoch=lambda epoch, model: model.train())
    assert set(modes) == {(False, False, True)}


@pytest.mark.parametrize("changes", OPTIMIZERS, ids=["sgd", "adamw"])
def test_the_head_trains_first_then_everything(fit, network, same, changes):
    found = []

    def after_epoch(epoch, model):
        found.append(moved(model, network()))
        model.eval()

    fit(ProbeThenFineTune(probe=0.4), after_epoch=after_epoch, epochs=5, **changes)
    everything = EXPECTED[FineTune](network())
    assert found == [set(), head(network()), head(network()), everything, everything, everything]
    probed = fit(ProbeThenFineTune(probe=1.0), epochs=3, **changes)
    assert same(probed, fit(LinearProbe(), epochs=3, **changes))


def test_a_computed_fraction_ends_the_probe_on_time(network):
    model = network()
    ProbeThenFineTune(probe=0.1 + 0.2).before_epoch(model, 3 / 10)
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())


def test_the_statistics_are_those_of_the_images_under_the_starting_weights(fit, network, data, same):
    expected = network()
    reestimate(expected, data().passes("batchnorm"))
    for changes in ({"epochs": 1}, {"epochs": 3, "lr": 1.0}):
        assert same(fit(BatchNormStatistics(), **changes), expected, without=("num_batches",))


def test_a_network_without_normalisation_is_refused(data):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten())
    with pytest.raises(UserError, match="BatchNorm, LayerNorm or GroupNorm .*choose another method"):
        BatchNormAffine().prepare(model, data())


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.LayerNorm(8)])
def test_the_layers_of_every_normalisation_train(data, norm):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), norm)
    BatchNormAffine().prepare(model, data())
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["1.weight", "1.bias"]


def test_batchnorm_comes_before_other_normalisation(data):
    model = nn.Sequential(nn.BatchNorm2d(4), nn.LayerNorm(8))
    BatchNormAffine().prepare(model, data())
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["0.weight", "0.bias"]
