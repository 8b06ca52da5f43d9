"""Stage features against timm's own intermediate features."""

import pytest
import timm
import torch

from analysis_lib.models.create import create_random_model
from analysis_lib.models.stages import STAGES, channel_axis, stage_names, stages_and_logits

SWIN = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1), "window_size": 2, "img_size": 64}
NETWORKS = {
    "test_resnet": {},
    "test_efficientnet": {},
    "test_convnext": {},
    "test_vit": {"img_size": 64},
    "test_mambaout": {},
    "swin_tiny_patch4_window7_224": SWIN,
}


@pytest.fixture
def images(random):
    return torch.rand(2, 3, 64, 64, generator=random)


@pytest.fixture
def network():
    def make(name):
        torch.manual_seed(0)
        return timm.create_model(name, num_classes=7, **NETWORKS.get(name, {})).eval()

    return make


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_are_timms_intermediate_features(network, images, name):
    model = network(name)
    tokens = name == "test_vit"
    layers = len(model.feature_info)
    chosen = [layers * stage // 5 - 1 for stage in range(1, 6)] if layers > 5 else list(range(layers))
    with torch.no_grad():
        options = {"output_fmt": "NLC", "return_prefix_tokens": True} if tokens else {}
        expected = model.forward_intermediates(images, indices=chosen, intermediates_only=True, **options)
        found, logits = stages_and_logits(model, images)
        assert torch.equal(logits, model(images))
    assert len(found) == len(expected) <= STAGES
    for ours, theirs in zip(found, expected):
        if tokens:
            patches, prefix = theirs
            assert torch.equal(ours, torch.cat([prefix, patches], 1))
        else:
            assert torch.equal(ours, theirs.flatten(2).transpose(1, 2)), "timm gives NCHW"
    assert not any(module._forward_hooks for module in model.modules())


def test_maps_with_channels_last_are_recognised(network):
    maps, tokens = torch.zeros(2, 4, 4, 8), torch.zeros(2, 4, 8)
    assert channel_axis(network("swin_tiny_patch4_window7_224"), maps) == -1
    assert channel_axis(network("test_resnet"), maps) == 1
    assert {channel_axis(network(name), tokens) for name in NETWORKS} == {-1}


def test_stages_have_names(network):
    assert stage_names(network("test_resnet")) == ["act1", "layer1", "layer2", "layer3", "layer4"]
    assert stage_names(network("test_efficientnet")) == [f"blocks.{n}" for n in range(5)]
    assert stage_names(network("test_convnext")) == [f"stages.{n}" for n in range(4)]
    assert stage_names(create_random_model("digits_cnn", 3, 0)) == ["blocks.2", "blocks.5", "blocks.8"]


@pytest.mark.parametrize("depth", [1, 5, 6, 7, 12, 24])
def test_the_blocks_of_a_transformer_are_taken_at_even_depths(depth):
    model = timm.create_model("vit_tiny_patch16_224", depth=depth, embed_dim=6, num_heads=1, img_size=32)
    depths = [int(name.removeprefix("blocks.")) + 1 for name in stage_names(model)]
    assert depths[-1] == depth and len(depths) == min(depth, 5)
    for stage, found in enumerate(depths, 1):
        assert 0 <= depth * stage / len(depths) - found < 1


def test_hooks_are_removed_after_an_error(network):
    model = network("test_resnet")
    with pytest.raises(RuntimeError):
        stages_and_logits(model, torch.zeros(1, 2, 64, 64))
    assert not any(module._forward_hooks for module in model.modules())


def test_gradients_flow_through_stages(network, images):
    model = network("test_resnet")
    stages, _ = stages_and_logits(model, images)
    assert all(torch.autograd.grad(h.sum(), model.conv1[0].weight, retain_graph=True)[0].any() for h in stages)
