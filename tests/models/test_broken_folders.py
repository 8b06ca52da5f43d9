"""Folders of timm and transformers with damaged files: one sentence each, and nothing else is read or run."""

import json

import pytest
import torch

from analysis_lib import UserError
from analysis_lib.models.create import create_model
from analysis_lib.models.likely_architecture import likely_sentence
from analysis_lib.models.user_network import open_network
from tests.models.ecosystem import save_timm, save_transformers


def changed(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"architecture": ["resnet18"]}, "field 'architecture'"),
        ({"num_classes": "four"}, "field 'num_classes'"),
        ({"pretrained_cfg": {"mean": "grey"}}, "field 'pretrained_cfg.mean'"),
        ({"model_args": [1]}, "field 'model_args'"),
        ({"label_names": {"first": "ash"}}, "field 'label_names"),
        ({"model_args": {"checkpoint_path": "other.pth"}}, "'checkpoint_path' among its model_args"),
        ({"model_args": {"pretrained": True}}, "'pretrained' among its model_args"),
    ],
)
def test_a_config_of_timm(tmp_path, fields, sentence):
    save_timm(tmp_path / "folder")
    changed(tmp_path / "folder" / "config.json", **fields)
    with pytest.raises(UserError, match=sentence):
        open_network(None, tmp_path / "folder")


def test_a_model_name_leads_out_of_no_folder(project):
    save_transformers(project / "folder")
    with pytest.raises(UserError, match="the project has no configuration of 'transformers/../../folder/config'"):
        create_model("transformers/../../folder/config", 2)


@pytest.mark.parametrize("fields", [{"hidden_size": "wide"}, {"num_attention_heads": 0}])
def test_a_config_of_transformers(tmp_path, fields):
    save_transformers(tmp_path / "folder")
    changed(tmp_path / "folder" / "config.json", **fields)
    with pytest.raises(UserError, match="transformers cannot open"):
        open_network(None, tmp_path / "folder")


def test_damaged_weights_of_transformers(tmp_path):
    save_transformers(tmp_path / "folder")
    (tmp_path / "folder" / "model.safetensors").write_bytes(b"damaged " * 9)
    with pytest.raises(UserError, match="transformers cannot open"):
        open_network(None, tmp_path / "folder")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"size": {"longest_edge": 32}}, "states no height and no shortest edge"),
        ({"image_mean": 0.5}, "field 'image_mean'"),
        ({"resample": [2]}, "field 'resample'"),
    ],
)
def test_a_processor_of_transformers(tmp_path, fields, sentence):
    save_transformers(tmp_path / "folder")
    changed(tmp_path / "folder" / "preprocessor_config.json", **fields)
    with pytest.raises(UserError, match=sentence):
        open_network(None, tmp_path / "folder")


@pytest.mark.parametrize("telling", ["blocks.0.attn.qkv.weight", "layers.0.blocks.0.attn.relative_position_bias_table"])
def test_a_checkpoint_without_patches_has_no_likely_architecture(telling):
    state = {telling: torch.empty(1000, 1000, device="meta")}
    assert likely_sentence(state, "resnet18") == ""
