"""RepAdapter against a grouped layer written out."""

import math

import pytest
import torch
from torch.nn.functional import linear

from analysis_lib import UserError
from analysis_lib.core.seeds import generator_for
from analysis_lib.models.petl import TECHNIQUES
from tests.models.petl.small_vit import VARIANTS, D, close, images, is_uniform, vit, walk, with_inserted

R, SCALE = 6, 0.7


def adapted(module, x):
    """x + s B(A x): the first half of the channels comes from the first half of the hidden ones."""
    hidden = linear(x, module.down.weight[:, :, 0], module.down.bias)
    up = module.up.weight[:, :, 0]
    halves = [linear(hidden[..., : R // 2], up[: D // 2]), linear(hidden[..., R // 2 :], up[D // 2 :])]
    return x + SCALE * (torch.cat(halves, -1) + module.up.bias)


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_lies_between_normalisation_and_branch(variant):
    network = with_inserted("repadapter", variant, rank=R, scale=SCALE)

    def step(number, block, x):
        first, second = (network.blocks[number].get_submodule(f"{at}.inserted") for at in ("attn.qkv", "mlp.fc1"))
        x = x + block.ls1(block.attn(adapted(first, block.norm1(x))))
        return x + block.ls2(block.mlp(adapted(second, block.norm2(x))))

    assert close(network(images()), walk(vit(variant), images(), step))


def test_the_start():
    modules = [block.mlp.fc1.inserted for block in with_inserted("repadapter", trained=False, rank=32).blocks]
    assert is_uniform(torch.cat([module.down.weight.flatten() for module in modules]), math.sqrt(6 / (D + 32)))
    for module in modules:
        assert module.up.weight.shape == (D, 16, 1) and module.dropout.p == 0.1
        assert not any(zero.any() for zero in (module.down.bias, module.up.weight, module.up.bias))


def test_an_odd_rank_is_one_sentence():
    with pytest.raises(UserError, match=r"^option rank of the method 'RepAdapter' is 3; give an even number$"):
        TECHNIQUES["repadapter"](rank=3).insert(vit(), generator_for("inserted"))
