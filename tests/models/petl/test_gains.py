"""DiffFit and SSF against scales and shifts written out."""

import pytest
import torch
from torch import nn

from analysis_lib.core.seeds import generator_for
from analysis_lib.models.petl import TECHNIQUES
from analysis_lib.models.petl.inserted import places
from tests.models.petl.small_vit import VARIANTS, close, images, vit, walk, with_inserted


@pytest.mark.parametrize("variant", VARIANTS)
def test_difffit_scales_each_branch(variant):
    network = with_inserted("difffit", variant)

    def step(number, block, x):
        own = network.blocks[number]
        x = x + own.attn.proj.inserted.gain * block.ls1(block.attn(block.norm1(x)))
        return x + own.mlp.fc2.inserted.gain * block.ls2(block.mlp(block.norm2(x)))

    assert close(network(images()), walk(vit(variant), images(), step))


class Scaled(nn.Module):
    """A layer, and behind it a scale and a shift of every channel."""

    def __init__(self, layer, gain, shift):
        super().__init__()
        self.layer, self.gain, self.shift = layer, gain, shift

    def forward(self, x):
        y = self.layer(x)
        if y.ndim == 4:
            return y * self.gain[:, None, None] + self.shift[:, None, None]
        return y * self.gain + self.shift


@pytest.mark.parametrize("variant", VARIANTS)
def test_ssf_scales_and_shifts_behind_every_operation(variant):
    network, plain = with_inserted("ssf", variant), vit(variant)
    parts = ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    names = ["patch_embed.proj", *(f"blocks.{number}.{part}" for number in range(3) for part in parts)]
    if variant != "no last norm":
        names.append("fc_norm" if variant in ("mean of patches", "no class token") else "norm")
    assert places(network).keys() == set(names)
    for name in names:
        module = network.get_submodule(name).inserted
        plain.set_submodule(name, Scaled(plain.get_submodule(name), module.gain, module.shift))
    assert close(network(images()), plain(images()))


def test_the_starts():
    gains, shifts = [], []
    for place in places(with_inserted("ssf", trained=False)).values():
        gains.append(place.inserted.gain)
        shifts.append(place.inserted.shift)
    for numbers, mean in ((torch.cat(gains), 1), (torch.cat(shifts), 0)):
        assert 0.018 < numbers.std() < 0.022 and abs(numbers.mean() - mean) < 0.003
    assert all((place.inserted.gain == 1).all() for place in places(with_inserted("difffit", trained=False)).values())


def test_a_merge_factor_lies_between_the_identity_and_the_trained_scale():
    """g = 1 + alpha (g - 1) and b = alpha b."""
    network, part = with_inserted("ssf"), vit()
    TECHNIQUES["ssf"]().insert(part, generator_for("inserted"))
    for place, own in zip(places(part).values(), places(network).values()):
        place.inserted.gain.data, place.inserted.shift.data = 0.75 + 0.25 * own.inserted.gain, 0.25 * own.inserted.shift
        own.inserted.merge = 0.25
    assert close(network(images()), part(images()))


def test_difffit_names_biases_and_normalisation():
    network = vit("layer scale, query norm")
    technique = TECHNIQUES["difffit"]()
    ids = {id(parameter) for parameter in technique.trained(network)}
    named = {name for name, parameter in network.named_parameters() if id(parameter) in ids}
    assert named == {name for name, _ in network.named_parameters() if "bias" in name or "norm" in name}
