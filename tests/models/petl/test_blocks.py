"""Which networks and which blocks a technique takes."""

import pytest
import timm
import torch
from timm.layers import Mlp, SwiGLU
from timm.models.vision_transformer import ParallelScalingBlock, ParallelThingsBlock, ResPostBlock

from analysis_lib import UserError
from analysis_lib.core.seeds import generator_for
from analysis_lib.models.petl import TECHNIQUES
from analysis_lib.models.petl.blocks import blocks_of, chosen
from tests.models.petl.small_vit import INSERTING, vit

TWELVE = [torch.nn.Identity() for _ in range(12)]
BUILDS = {
    "Block": {"mlp_layer": Mlp},
    "ResPostBlock": {"block_fn": ResPostBlock},  # normalises behind each branch
    "ParallelScalingBlock": {"block_fn": ParallelScalingBlock},
    "ParallelThingsBlock": {"block_fn": ParallelThingsBlock},
    "Block with SwiGLU": {"mlp_layer": SwiGLU},
}


@pytest.mark.parametrize(
    ("which", "numbers"),
    {"all": range(12), "1": [1], "-1": [11], "10,11": [10, 11], " 3, 1 ": [1, 3], "0,-12,11": [0, 11]}.items(),
)
def test_blocks_are_named_by_number(which, numbers):
    assert [TWELVE.index(block) for block in chosen(TWELVE, "LoRA", which)] == list(numbers)


@pytest.mark.parametrize("which", ["12", "-13", "blocks.1", "", "1,", "1.0", "first", "ALL", "01", "1-3"])
def test_a_wrong_block_is_one_sentence(which):
    with pytest.raises(UserError, match=r"^option blocks of 'LoRA' names '.*'; give all, or numbers from -12 to 11 wi"):
        chosen(TWELVE, "LoRA", which)


@pytest.mark.parametrize("name", INSERTING)
def test_another_network_is_one_sentence(name):
    title = TECHNIQUES[name].title
    with pytest.raises(UserError, match=rf"^{title} is inserted .* vision transformer, and ResNet is none; choose a"):
        TECHNIQUES[name]().insert(timm.create_model("test_resnet"), generator_for("inserted"))


@pytest.mark.parametrize("build", BUILDS)
def test_only_blocks_of_the_usual_build_are_taken(build):
    network = vit(**BUILDS[build])
    if build == "Block":
        assert blocks_of(network, "LoRA") == list(network.blocks)
    else:
        with pytest.raises(UserError, match=rf"^LoRA needs .*, and the {build.split()[0]} of this network does not"):
            blocks_of(network, "LoRA")


def test_some_blocks_alone_get_modules():
    network = vit()
    TECHNIQUES["houlsby"](blocks="0,-1").insert(network, generator_for("inserted"))
    inserted = {name.split(".")[1] for name, _ in network.named_parameters() if "inserted" in name}
    assert inserted == {"0", "2"}
