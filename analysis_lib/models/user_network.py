"""A user's network, opened from whatever its library saved, and written again for the same library.

Taken are: a state dict (`.safetensors`, `.pth`) of a timm or torchvision architecture; a folder of the library
`transformers`; a folder in timm's format for hubs; and the word `timm` for the weights that timm downloads.
"""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.torch
import timm
import torch
from torch import nn

from ..core import external_files, paths
from ..core.errors import UserError
from ..core.progress import log
from . import timm_folder, torchvision_model, transformers_folder, transformers_model, user_weights
from .adapter import Adapter
from .output_names import OutputNames, imagenet_names, named

DOWNLOAD = Path("timm")  # in place of a file: the weights that timm itself downloads
MARK = "analysis_lib"  # our entry in the config.json of a calibrated folder


@dataclass(frozen=True)
class UserNetwork:
    """An opened network.

    model : with timm's interface, in eval mode.
    arch : its name for `create_model`.
    path : where it came from.
    own_names : of its outputs, if the checkpoint states them.
    config : of a folder, its config.json; else None.
    """

    model: nn.Module
    arch: str
    path: Path
    own_names: OutputNames | None = None
    config: dict | None = None

    @property
    def names(self) -> OutputNames | None:
        """The names of the outputs: the checkpoint's own, else ImageNet's for a head of 1,000 outputs, else None."""
        if self.own_names is None and self.model.num_classes == 1000:
            return imagenet_names()
        return self.own_names

    def cut(self, rows: Sequence[int], names: Sequence[str]) -> "UserNetwork":
        """The network with these outputs only, in this order and under these names.

        Raises UserError for a head that is not one linear layer.
        """
        model = copy.deepcopy(self.model)
        head = model.get_classifier()
        if not isinstance(head, nn.Linear):
            raise UserError(
                f"the head of {self.arch} is a {type(head).__name__} and cannot be cut; choose a network with one "
                "linear head"
            )
        rows = torch.tensor(rows)
        head.weight = nn.Parameter(head.weight.detach()[rows].clone())
        if head.bias is not None:
            head.bias = nn.Parameter(head.bias.detach()[rows].clone())
        head.out_features = len(rows)
        if not isinstance(model, Adapter):  # an adapter reads it from its head
            model.num_classes = len(rows)
        config = self.config and _with_names(self.config, list(names))
        return replace(self, model=model, own_names=named(names), config=config)


def open_network(arch: str | None, path: Path, image_size: int | None = None) -> UserNetwork:
    """The network of an architecture and a checkpoint; a folder states its architecture itself.

    arch : a timm architecture, or `torchvision/` and one of torchvision's; None for a folder. path : a file, a folder,
    or `timm`. image_size : pixels; used only by architectures made for one size. Raises UserError for what cannot be
    opened, does not fit, or is calibrated already.
    """
    if path.is_dir():
        return _open_folder(arch, path)
    if arch is None:
        raise UserError(
            f"--model is missing; {paths.display(path)} does not say its architecture, only a folder with config.json "
            "does"
        )
    if path == DOWNLOAD and not path.exists():
        return UserNetwork(_downloaded(arch), arch, path)
    if arch.startswith(torchvision_model.PREFIX):
        return UserNetwork(_open_torchvision(arch, path), arch, path)
    return UserNetwork(user_weights.load_classifier(arch, path, image_size), arch, path)


def _open_folder(arch: str | None, folder: Path) -> UserNetwork:
    config = external_files.read_json(folder / "config.json")
    if MARK in config:
        raise user_weights.calibrated_already(folder, config[MARK]["gamma"])
    if "architecture" in config:
        model, found = timm_folder.load(folder, config), config["architecture"]
        labels, descriptions = timm_folder.labels(config)
    elif "model_type" in config:
        model, found = transformers_folder.load(folder, config), transformers_model.model_name(config)
        labels, descriptions = transformers_folder.labels(config), {}
    else:
        raise UserError(
            f"{paths.display(folder / 'config.json')} has neither timm's 'architecture' nor transformers' "
            "'model_type'; give a folder of one of them"
        )
    if arch not in (None, found):
        raise UserError(
            f"{paths.display(folder)} holds {found}, not {arch}; leave out --model, a folder states its own"
        )
    if labels and len(labels) != model.num_classes:
        raise UserError(
            f"{paths.display(folder / 'config.json')} names {len(labels)} classes for {model.num_classes} outputs; "
            "correct one of them"
        )
    return UserNetwork(model, found, folder, named(labels, descriptions) if labels else None, config)


def _open_torchvision(arch: str, path: Path) -> Adapter:
    """The torchvision classifier of a state dict, in eval mode."""
    model = torchvision_model.create(arch, 2)
    state, metadata = external_files.read_weights(path)
    user_weights.refuse_calibrated(path, metadata)
    if f"{model.head_place}.weight" in state:
        model.head = nn.Linear(model.head.in_features, len(state[f"{model.head_place}.weight"]))
    whole = model.whole()
    user_weights.check_fit(whole.state_dict(), state, arch, path)
    whole.load_state_dict(state)
    return Adapter(whole, model.head_place, model.pretrained_cfg, model.output_fmt).eval()


def _downloaded(arch: str) -> nn.Module:
    """The timm model with the weights that timm downloads. Raises UserError, also where the network is closed."""
    user_weights.classifier_names(arch)
    log(f"timm downloads the weights of {arch}, unless it has them")
    try:
        return timm.create_model(arch, pretrained=True).eval()
    except Exception as error:  # noqa: BLE001 (whatever a network, a proxy or a cache may raise)
        raise UserError(
            f"timm cannot download weights of {arch} ({(str(error) or type(error).__name__).splitlines()[0]}); give a "
            "file or a folder instead of timm"
        ) from None


def native_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict under the names of the network's own library, as safetensors takes it."""
    return user_weights.plain_state(model.whole() if isinstance(model, Adapter) else model)


def contents(network: UserNetwork, model: nn.Module, gamma: float | None) -> dict[str, bytes]:
    """What is written for `model`, a copy of the opened network with other weights, by file name.

    gamma : the constant that its head carries, or None. One nameless file for a network from a file; for one from a
    folder, a folder that the same library loads, whose config.json holds gamma and the hash of the weights it came
    from. Raises UserError for a head that gained a bias that the folder's library would not load.
    """
    if network.config is None:
        metadata = None if gamma is None else {user_weights.MARKER: repr(float(gamma))}
        return {"": safetensors.torch.save(native_state(model), metadata)}
    if model.state_dict().keys() != network.model.state_dict().keys():
        raise UserError(
            f"the head of {network.arch} has no bias to hold gamma and its folder cannot say that it gained one; give "
            "the weights as a file with --model"
        )
    config = network.config
    if gamma is not None:
        config = config | {MARK: {"gamma": float(gamma), "weights_sha256": _digest(network.path)}}
    if isinstance(model, Adapter):
        return transformers_folder.contents(network.path, model, config)
    return timm_folder.contents(model, config)


def _digest(folder: Path) -> str:
    """The sha256 of the folder's weights."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("model*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _with_names(config: dict, names: list[str]) -> dict:
    """A folder's config.json for a head with these outputs."""
    if "model_type" in config:
        numbered = {str(k): name for k, name in enumerate(names)}
        return config | {"id2label": numbered, "label2id": {name: k for k, name in enumerate(names)}}
    number = {"num_classes": len(names)}
    stated = config.get("pretrained_cfg", config)
    looks = {key: value for key, value in stated.items() if not key.startswith("label_")} | number
    kept = {key: value for key, value in config.items() if key != "label_descriptions"}
    if "model_args" in config:
        kept["model_args"] = config["model_args"] | number
    return kept | number | {"label_names": names, "pretrained_cfg": looks}
