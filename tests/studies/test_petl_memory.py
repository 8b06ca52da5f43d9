"""What a training step keeps in memory: counted against hand counts, and nothing of the backbone's tokens for VQT."""

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn.functional import cross_entropy

from analysis_lib.methods import create_method
from analysis_lib.studies import petl_memory
from analysis_lib.studies.petl_memory import Case, footprints, held_mb, matched_depths, saved_for_backward, saved_mb

SMALL = Case("glyphs_vit", 32, 4, 10)
TOKENS = {16, 17, 49, 50}  # patches at 32 and at 56 pixels, without and with CLS
WIDTH, CLASSES, BATCH = 40, 5, 3  # no number of tokens among them


def held(name: str, size: int, **options) -> list[torch.Tensor]:
    """What a small vision transformer saves in one pass of a method, in train mode."""
    torch.manual_seed(0)
    model = VisionTransformer(size, 8, embed_dim=WIDTH, depth=3, num_heads=5, num_classes=CLASSES)
    method = create_method(name, options)
    method.prepare(model, SMALL.data(torch.device("cpu")))
    method.before_epoch(model, 0.0)
    x, labels = torch.rand(BATCH, 3, size, size), torch.arange(BATCH)
    return saved_for_backward(model, lambda: method.loss(model, x, labels))


def test_the_count_is_that_by_hand():
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    x, labels = torch.rand(5, 6), torch.zeros(5, dtype=torch.int64)
    floats = 5 * 6 + 5 * 4 + 5 * 3 + 1  # x, the hidden layer once, log-probabilities, the total weight of the loss
    saved = saved_for_backward(model, lambda: cross_entropy(model(x), labels))
    assert held_mb(saved) * 2**20 == 4 * floats + 8 * 5
    model[0].requires_grad_(False)
    saved = saved_for_backward(model, lambda: cross_entropy(model(x), labels))
    assert held_mb(saved) * 2**20 == 4 * (floats - 5 * 6) + 8 * 5, "nothing before the hidden layer"


def test_a_view_holds_all_of_its_memory():
    whole = torch.zeros(1024, 1024)
    assert held_mb([whole[:1], whole[1:2], whole]) == 4


def test_vqt_holds_nothing_as_wide_as_the_tokens_of_the_backbone():
    for tensor in held("vqt", 32):
        assert not TOKENS & set(tensor.shape) and tensor.untyped_storage().nbytes() <= 4 * BATCH * WIDTH * 4 * 4
    assert held_mb(held("vqt", 32)) == held_mb(held("vqt", 56)), "more tokens cost nothing"
    for name in ("lora", "vpt_deep", "finetune"):
        assert any({17, 27} & set(tensor.shape) for tensor in held(name, 32))
        assert held_mb(held(name, 56)) > 1.5 * held_mb(held(name, 32))


def test_many_queries_hold_keys_and_values_where_that_is_less():
    few, many = held("vqt", 32, queries=4), held("vqt", 32, queries=16)
    assert not any(TOKENS & set(tensor.shape[1:]) for tensor in few), "4 slopes for 8 channels are less than 2 x 17"
    assert any(17 in tensor.shape for tensor in many)
    assert held_mb(many) < 4 * held_mb(few)


def test_vqt_holds_less_than_techniques_that_reach_into_the_network():
    saved = {name: saved_mb(SMALL, name) for name in petl_memory.COMPARED}
    assert saved["linear_probe"] < saved["vqt"] < 0.25 * min(saved[name] for name in ("lora", "houlsby", "vpt_deep"))
    assert saved["vqt"] == pytest.approx(saved_mb(Case("glyphs_vit", 32, 8, 10), "vqt") / 2, rel=1e-3)


def test_matched_depths_are_the_last_that_fit():
    table = matched_depths(SMALL, ("lora", "vpt_deep"), queries=10)
    assert table.columns.tolist() == ["method", "blocks", "saved_mb", "next_mb", "vqt_mb"]
    for row in table.itertuples():
        assert 0 < row.blocks < 6 and row.saved_mb <= row.vqt_mb < row.next_mb
        last = ",".join(str(number) for number in range(6 - row.blocks, 6))
        assert row.saved_mb == saved_mb(SMALL, row.method, {"blocks": last})


def test_footprints_are_measured_apart():
    (row,) = footprints(SMALL, ("vqt",), "cpu").to_dict("records")
    assert list(row) == ["method", "trainable", "saved_mb", "times_saved", "seconds", "times", "memory_mb"]
    assert row["method"] == "vqt" and row["times_saved"] == row["times"] == 1
    assert row["trainable"] == 6 * 128 + (7 * 128 + 1) * 10
    assert row["saved_mb"] == saved_mb(SMALL, "vqt")
    assert row["seconds"] > 0 and row["memory_mb"] > row["saved_mb"]
