"""Prompts against a forward that puts them before the tokens by hand."""

import math

import pytest
import torch

from analysis_lib.core.seeds import generator_for
from analysis_lib.models.petl import TECHNIQUES
from tests.models.petl.small_vit import VARIANTS, D, close, images, is_uniform, vit, walk, with_inserted

P = 3


def before(prompts, x):
    return torch.cat([torch.stack([prompts] * len(x)), x], 1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_deep_prompts_are_new_in_every_block(variant):
    network = with_inserted("vpt_deep", variant, prompts=P)

    def step(number, block, x):
        return block(before(network.blocks[number].inserted.prompts, x))[:, P:]

    assert close(network(images()), walk(vit(variant), images(), step))


@pytest.mark.parametrize("variant", VARIANTS)
def test_shallow_prompts_stay_through_all_blocks(variant):
    network = with_inserted("vpt_shallow", variant, prompts=P)

    def step(number, block, x):
        return block(before(network.blocks[0].inserted.prompts, x) if number == 0 else x)

    assert close(network(images()), walk(vit(variant), images(), step, last=lambda x: x[:, P:]))
    dropped = walk(vit(variant), images(), lambda number, block, x: step(number, block, x)[:, P * (number == 0) :])
    assert not close(network(images()), dropped), "they do not leave behind the first block"


@pytest.mark.parametrize("patch", [(8, 8), (8, 4)])
def test_the_start_depends_on_patch_and_width(patch):
    network = vit(patch_size=patch)
    TECHNIQUES["vpt_deep"](prompts=50).insert(network, generator_for("inserted"))
    starts = torch.cat([block.inserted.prompts.flatten() for block in network.blocks])
    assert is_uniform(starts, math.sqrt(6 / (3 * patch[0] * patch[1] + D)))


def test_every_image_has_a_dropout_mask_of_its_own():
    module = with_inserted("vpt_deep", prompts=50).blocks[0].inserted.train()
    tokens = module.enter(torch.zeros(2, 7, D, dtype=torch.float64))
    assert tokens.shape == (2, 57, D) and not tokens[:, 50:].any()
    zeros = tokens[:, :50] == 0
    assert 0.05 < zeros.double().mean() < 0.15 and (zeros[0] != zeros[1]).any()
