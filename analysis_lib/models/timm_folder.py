"""Folders in timm's own format for hubs: config.json with the architecture, and model.safetensors."""

import dataclasses
import json
from pathlib import Path

import safetensors.torch
import timm
from torch import nn

from ..core import external_files, paths
from ..core.errors import UserError
from .user_weights import check_fit, classifier_names, creating, plain_state


def load(folder: Path, config: dict) -> nn.Module:
    """The timm model of a folder, in eval mode. Raises UserError for weights that are missing or do not fit."""
    if not (folder / "model.safetensors").is_file():
        raise UserError(
            f"{paths.display(folder)} has no model.safetensors, and pickled weights are not read from a folder; save "
            "it again with `timm.models.save_for_hf(model, folder, safe_serialization=True)`"
        )
    arch = config["architecture"]
    classifier_names(arch)
    state, _ = external_files.read_safetensors(folder / "model.safetensors")
    known = {field.name for field in dataclasses.fields(timm.models.PretrainedCfg)}
    looks = {name: value for name, value in config.get("pretrained_cfg", config).items() if name in known}
    options = config.get("model_args", {}) | {"num_classes": config.get("num_classes", looks.get("num_classes"))}
    with creating(arch):
        model = timm.create_model(arch, pretrained_cfg=looks | {"architecture": arch}, **options)
    check_fit(model.state_dict(), state, arch, folder)
    model.load_state_dict(state)
    return model.eval()


def labels(config: dict) -> tuple[list[str] | None, dict[str, str]]:
    """The class names in head order, or None, and descriptions of some of them."""
    stated = config | config.get("pretrained_cfg", {}) | config
    names = stated.get("label_names")
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=int)]
    return names, stated.get("label_descriptions") or {}


def contents(model: nn.Module, config: dict) -> dict[str, bytes]:
    """The files of a folder with this model's weights and `config` as its config.json."""
    return {
        "model.safetensors": safetensors.torch.save(plain_state(model)),
        "config.json": (json.dumps(config, indent=2) + "\n").encode(),
    }
