"""How many weights each technique trains on ViT-B/16: the numbers and formulas of the table, without the head."""

import pytest
import timm
import torch

from analysis_lib.methods import create_method
from analysis_lib.training.method import TrainingData

D, BLOCKS = 768, 12
RANKS = (1, 4, 8, 32)


def trained(method: str, **options) -> int:
    """The trained weights of a ViT-B/16 that holds no numbers."""
    with torch.device("meta"):
        network = timm.create_model("vit_base_patch16_224", num_classes=10)
    nothing = torch.empty(0, dtype=torch.int64)
    create_method(method, options).prepare(network, TrainingData(nothing, nothing, nothing, 1, None, "count"))
    assert all(parameter.requires_grad for parameter in network.head.parameters())
    assert all(parameter.is_meta for parameter in network.parameters())
    return sum(p.numel() for name, p in network.named_parameters() if p.requires_grad and not name.startswith("head."))


def adapter(r: int) -> int:
    return D * r + r + r * D + D


def grouped(r: int) -> int:
    return D * r + r + D * (r // 2) + D


def convolutional(r: int) -> int:
    return D * r + r + (9 * r * r + r) + r * D + D


@pytest.mark.parametrize(
    ("method", "count"),
    {"linear_probe": 0, "bitfit_head": 102_912, "normalisation": 38_400, "difffit": 140_544, "ssf": 205_824}.items(),
)
def test_a_technique_without_options(method, count):
    assert trained(method) == count


def test_everything():
    assert round(trained("finetune") / 1e6, 2) == 85.80


@pytest.mark.parametrize("r", RANKS)
def test_a_technique_with_a_rank(r):
    assert trained("lora", rank=r) == BLOCKS * 4 * D * r
    assert trained("houlsby", rank=r) == BLOCKS * 2 * adapter(r)
    for name in ("pfeiffer", "pfeiffer_random", "adaptformer"):
        assert trained(name, rank=r) == BLOCKS * adapter(r)
    assert trained("convpass", rank=r) == BLOCKS * 2 * convolutional(r)
    if r % 2 == 0:
        assert trained("repadapter", rank=r) == BLOCKS * 2 * grouped(r)
    assert trained("fact_tt", rank=r) == 2 * D * r + BLOCKS * (4 + 4 + 4) * r * r
    assert trained("fact_tk", rank=r) == 2 * D * r + r**3 + r * 12 * BLOCKS


@pytest.mark.parametrize("p", [1, 10, 50, 200])
def test_prompts(p):
    assert trained("vpt_shallow", prompts=p) == p * D
    assert trained("vpt_deep", prompts=p) == BLOCKS * p * D


PARTS = {
    "qkv": 3 * D * D + 3 * D,
    "proj": D * D + D,
    "attention": 4 * D * D + 4 * D,
    "fc1": 4 * D * D + 4 * D,
    "fc2": 4 * D * D + D,
    "mlp": 8 * D * D + 5 * D,
    "block": 12 * D * D + 13 * D,
}


@pytest.mark.parametrize("part", PARTS)
def test_selected_blocks(part):
    assert trained("selected", part=part) == PARTS[part], "the last block, if nothing is said"
    assert trained("selected", part=part, blocks="1") == PARTS[part], "not blocks 10 and 11"
    assert trained("selected", part=part, blocks="0,1,11,-1") == 3 * PARTS[part], "the last one is counted once"
    assert trained("selected", part=part, blocks="all") == 12 * PARTS[part]


def test_the_modules_of_some_blocks():
    assert trained("lora", rank=8, blocks="10,11") == 2 * 4 * D * 8
    assert trained("vpt_deep", prompts=5, blocks="1") == 5 * D
