"""Techniques that insert nothing name the weights that they should."""

import pytest
import timm
import torch

from analysis_lib import UserError
from analysis_lib.models.petl import TECHNIQUES
from analysis_lib.models.petl.own_weights import PLACES
from tests.models.petl.small_vit import vit


def named(network, name, **options):
    """The names of the weights that a technique trains beside the head."""
    ids = {id(parameter) for parameter in TECHNIQUES[name](**options).trained(network)}
    return {name for name, parameter in network.named_parameters() if id(parameter) in ids}


def names(network, *parts):
    return {name for name, _ in network.named_parameters() if any(part in name for part in parts)}


@pytest.mark.parametrize("variant", ["usual", "mean of patches", "as CLIP", "layer scale, query norm"])
def test_biases_and_normalisation_of_a_transformer(variant):
    network = vit(variant)
    assert named(network, "bitfit_head") == names(network, "bias")
    assert named(network, "normalisation") == names(network, "norm")


def test_biases_and_normalisation_of_convolutions():
    network = timm.create_model("test_resnet", num_classes=5)
    assert named(network, "bitfit_head") == names(network, "bias")
    batchnorms = [name.removesuffix("running_mean") for name in network.state_dict() if name.endswith("running_mean")]
    assert named(network, "normalisation") == names(network, *batchnorms)
    convnext = timm.create_model("test_convnext", num_classes=5)
    assert named(convnext, "normalisation") == names(convnext, "norm", "stem.1", "downsample.0")


def test_no_normalisation_is_one_sentence():
    with pytest.raises(UserError, match=r"^normalisation .* finds no normalisation in Linear; choose another method$"):
        named(torch.nn.Linear(2, 2), "normalisation")


@pytest.mark.parametrize("part", PLACES)
def test_block_1_is_not_block_10(part):
    network = vit(depth=12)
    wanted = {f"blocks.1.{place}.{kind}" for place in PLACES[part] for kind in ("weight", "bias")}
    assert named(network, "selected", blocks="1", part=part) == wanted
    assert named(network, "selected", blocks="1") == names(network, "blocks.1.")
    assert named(network, "selected", blocks="10,-1") == names(network, "blocks.10.", "blocks.11.")
    assert named(network, "selected") == names(network, "blocks.11.")
    assert named(network, "selected", blocks="all") == names(network, "blocks.")


def test_the_stages_of_convolutions_take_the_place_of_blocks():
    network = timm.create_model("test_resnet", num_classes=5)
    assert named(network, "selected") == names(network, "layer4.")
    with pytest.raises(UserError, match=r"^selected blocks is inserted into the blocks of a timm vision tran"):
        named(network, "selected", part="mlp")


def test_a_wrong_name_is_one_sentence():
    with pytest.raises(UserError, match=r"^unknown part of selected blocks 'atention' \(did you mean 'attention'\?\)"):
        named(vit(), "selected", part="atention")
    for blocks in ("3", "blocks.1", "1-2", "-4"):
        with pytest.raises(UserError, match=rf"^option blocks of 'selected blocks' names '{blocks}'; give all, or nu"):
            named(vit(), "selected", blocks=blocks)
