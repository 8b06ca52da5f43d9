"""LoRA against the change of the weights, and against peft."""

import pytest
import torch

from tests.models.petl.small_vit import DEPTH, VARIANTS, D, close, images, is_uniform, vit, with_inserted


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_the_weights_of_queries_keys_and_values_change_by_b_a(variant):
    network, plain = with_inserted("lora", variant), vit(variant)
    for own, block in zip(network.blocks, plain.blocks):
        block.attn.qkv.weight += own.attn.qkv.inserted.up.weight @ own.attn.qkv.inserted.down.weight
    assert close(network(images()), plain(images()))


def test_the_start():
    modules = [block.attn.qkv.inserted for block in with_inserted("lora", trained=False, rank=32).blocks]
    assert is_uniform(torch.cat([module.down.weight.flatten() for module in modules]), D**-0.5)
    assert not any(module.up.weight.any() for module in modules)
    assert {module.dropout.p for module in modules} == {0.1}


def test_peft_gives_the_same_logits_gradients_and_merged_weights():
    """peft multiplies by lora_alpha / r, which is 1 here."""
    import peft

    network = with_inserted("lora", rank=8, dropout=0.0)
    reference = peft.get_peft_model(
        vit(), peft.LoraConfig(target_modules=["qkv"], r=8, lora_alpha=8, lora_dropout=0.0)
    ).double()
    pairs = []
    for own, block in zip(network.blocks, reference.base_model.model.blocks):
        for ours, theirs in (("down", block.attn.qkv.lora_A.default), ("up", block.attn.qkv.lora_B.default)):
            ours = own.attn.qkv.inserted.get_submodule(ours)
            theirs.weight.data.copy_(ours.weight)
            pairs.append((ours.weight, theirs.weight))
    assert len(pairs) == 2 * DEPTH
    for model in (network, reference):
        model.train()
        torch.nn.functional.cross_entropy(model(images()), torch.tensor([1, 4])).backward()
    assert close(network(images()), reference(images()))
    assert all(close(ours.grad, theirs.grad) for ours, theirs in pairs)
    merged = reference.merge_and_unload().blocks
    for own, block in zip(network.blocks, merged):
        weight = own.attn.qkv.inserted.folded(own.attn.qkv)["weight"]
        assert close(weight, block.attn.qkv.weight) and not close(weight, own.attn.qkv.weight)
