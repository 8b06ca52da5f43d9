"""Adapters against a block's forward written out, and their starts."""

import math

import pytest
import torch
from torch.nn.functional import linear

from analysis_lib.models.petl.inserted import inserted_parameters
from tests.models.petl.small_vit import VARIANTS, D, close, images, is_uniform, vit, walk, with_inserted


def core(module, x):
    """up(relu(down x)) of a bottleneck."""
    hidden = linear(x, module.down.weight, module.down.bias)
    return linear(torch.where(hidden > 0, hidden, 0), module.up.weight, module.up.bias)


@pytest.mark.parametrize("variant", VARIANTS)
def test_houlsby_follows_both_branches(variant):
    network = with_inserted("houlsby", variant, scale=0.7)

    def step(number, block, x):
        first, second = (network.blocks[number].get_submodule(f"{place}.inserted") for place in ("attn", "mlp"))
        h = block.attn(block.norm1(x))
        x = x + block.ls1(h + 0.7 * core(first, h))
        h = block.mlp(block.norm2(x))
        return x + block.ls2(h + 0.7 * core(second, h))

    assert close(network(images()), walk(vit(variant), images(), step))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["pfeiffer", "pfeiffer_random"])
def test_pfeiffer_follows_the_mlp(name, variant):
    network = with_inserted(name, variant, scale=1.3)

    def step(number, block, x):
        x = x + block.ls1(block.attn(block.norm1(x)))
        h = block.mlp(block.norm2(x))
        return x + block.ls2(h + 1.3 * core(network.blocks[number].mlp.inserted, h))

    assert close(network(images()), walk(vit(variant), images(), step))


@pytest.mark.parametrize("variant", VARIANTS)
def test_adaptformer_reads_what_enters_the_second_normalisation(variant):
    network = with_inserted("adaptformer", variant)

    def step(number, block, x):
        x = x + block.ls1(block.attn(block.norm1(x)))
        return x + block.ls2(block.mlp(block.norm2(x)) + 0.1 * core(network.blocks[number].mlp.inserted, x))

    assert close(network(images()), walk(vit(variant), images(), step))


def test_the_defaults():
    """Spec: rank 64 and scale 0.1 for AdaptFormer, and a dropout of 0.1 everywhere."""
    modules = {name: with_inserted(name).blocks[0].mlp.inserted for name in ("houlsby", "pfeiffer", "adaptformer")}
    assert modules["adaptformer"].scale == 0.1 and len(modules["adaptformer"].down.weight) == 64
    assert all(module.dropout.p == 0.1 for module in modules.values())


def test_random_adapters_start_with_xavier_and_small_biases():
    network, bound = with_inserted("houlsby", trained=False, rank=32), math.sqrt(6 / (D + 32))
    starts = [network.blocks[number].get_submodule(f"{at}.inserted") for number in range(3) for at in ("attn", "mlp")]
    for side in ("down", "up"):
        assert is_uniform(torch.cat([start.get_submodule(side).weight.flatten() for start in starts]), bound)
    biases = torch.cat([p for p in inserted_parameters(network) if p.ndim == 1])
    assert 0.8e-6 < biases.std() < 1.2e-6 and biases.mean().abs() < 2e-7


@pytest.mark.parametrize(("name", "bound"), {"pfeiffer": math.sqrt(6 / (D + 32)), "adaptformer": D**-0.5}.items())
def test_adapters_of_a_zero_start(name, bound):
    network = with_inserted(name, trained=False, rank=32)
    starts = [block.mlp.inserted for block in network.blocks]
    assert is_uniform(torch.cat([start.down.weight.flatten() for start in starts]), bound)
    assert not any(start.up.weight.any() or start.up.bias.any() or start.down.bias.any() for start in starts)
