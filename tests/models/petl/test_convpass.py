"""ConvPass against a convolution as loops over patches and their neighbours."""

import itertools
import math

import pytest
import torch
from torch.nn.functional import linear

from tests.models.petl.small_vit import GRID, VARIANTS, D, close, images, is_uniform, vit, walk, with_inserted

SCALE = 0.6


def quick(x):
    return x / (1 + torch.exp(-1.702 * x))


def bypass(module, x, prefix):
    """The convolution of each token: a patch sees its neighbours, and a token before them itself alone."""
    h = quick(linear(x, module.down.weight, module.down.bias))
    kernel, rows, columns = module.conv.weight, *GRID
    outputs = [linear(h[:, token], kernel[:, :, 1, 1]) for token in range(prefix)]
    for row, column in itertools.product(range(rows), range(columns)):
        total = 0
        for down, right in itertools.product((-1, 0, 1), repeat=2):
            if 0 <= row + down < rows and 0 <= column + right < columns:
                neighbour = h[:, prefix + (row + down) * columns + column + right]
                total = total + linear(neighbour, kernel[:, :, down + 1, right + 1])
        outputs.append(total)
    convolved = torch.stack(outputs, 1) + module.conv.bias
    return SCALE * linear(quick(convolved), module.up.weight, module.up.bias)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_bypass_lies_beside_attention_and_mlp(variant):
    network = with_inserted("convpass", variant, scale=SCALE)
    prefix = network.num_prefix_tokens

    def step(number, block, x):
        first, second = (network.blocks[number].get_submodule(f"{place}.inserted") for place in ("attn", "mlp"))
        h = block.norm1(x)
        x = x + block.ls1(block.attn(h) + bypass(first, h, prefix))
        h = block.norm2(x)
        return x + block.ls2(block.mlp(h) + bypass(second, h, prefix))

    assert close(network(images()), walk(vit(variant), images(), step))


def test_the_start():
    modules = [block.attn.inserted for block in with_inserted("convpass", trained=False, rank=16).blocks]
    assert is_uniform(torch.cat([module.down.weight.flatten() for module in modules]), math.sqrt(6 / (D + 16)))
    for module in modules:
        assert torch.equal(module.conv.weight[:, :, 1, 1], torch.eye(16, dtype=torch.float64))
        assert module.conv.weight.sum() == 16, "nothing beside the centre"
        zeros = (module.down.bias, module.conv.bias, module.up.weight, module.up.bias)
        assert module.dropout.p == 0.1 and not any(zero.any() for zero in zeros)
