"""Folders in timm's own format for hubs: config.json with the architecture, and model.safetensors."""

import dataclasses
import inspect
import json
from pathlib import Path

import pydantic
import safetensors.torch
import timm
from torch import nn

from ..core import external_files, paths
from ..core.errors import UserError
from .user_weights import check_fit, classifier_names, creating, plain_state


class _Looks(pydantic.BaseModel):
    """What is read of a `pretrained_cfg`, or of the config.json itself where it has none."""

    input_size: tuple[pydantic.PositiveInt, pydantic.PositiveInt, pydantic.PositiveInt] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    crop_pct: float | None = None
    interpolation: str | None = None
    label_names: list[str] | dict[int, str] | None = None
    label_descriptions: dict[str, str] | None = None


class _Config(_Looks):
    """What is read of a config.json."""

    architecture: str
    num_classes: pydantic.PositiveInt | None = None
    pretrained_cfg: _Looks = _Looks()
    model_args: dict = {}


def load(folder: Path, config: dict) -> nn.Module:
    """The timm model of a folder, in eval mode.

    Raises UserError for weights that are missing or do not fit, and for a config.json with fields of another type or
    with options that would read other files.
    """
    if not (folder / "model.safetensors").is_file():
        raise UserError(
            f"{paths.display(folder)} has no model.safetensors, and pickled weights are not read from a folder; save "
            "it again with `timm.models.save_for_hf(model, folder, safe_serialization=True)`"
        )
    where = paths.display(folder / "config.json")
    try:
        _Config.model_validate(config)
    except pydantic.ValidationError as error:
        raise external_files.wrong_field(error, where) from None
    reading = config.get("model_args", {}).keys() & inspect.signature(timm.create_model).parameters.keys()
    if reading:
        raise UserError(
            f"{where} has {min(reading)!r} among its model_args, an option of timm's and none of the network; remove it"
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
