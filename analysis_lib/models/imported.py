"""Import a user's network into the project, and make it the one that a benchmark's manifest names.

The head is cut to the manifest's classes by name. The state dict gets a name that holds a hash of its content, so the
same network imported again is the same file.
"""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pydantic
import safetensors.torch
import torch

from ..benchmarks import describe
from ..benchmarks.manifest import SOURCE, Head, Manifest, load_manifest, save_head
from ..core import external_files, files, paths
from ..core.errors import UserError
from . import transformers_model
from .backbone import head_name
from .create import create_model
from .output_names import named
from .user_network import UserNetwork
from .user_weights import check_fit, plain_state


def set_network(
    benchmark: str, network: UserNetwork, looks: dict, classes: Path | None = None, source_start: bool = False
) -> tuple[Manifest, str, bool]:
    """Import a network and name it in the head of a benchmark's manifest.

    looks : image_size, mean and std where they are not the network's own. classes : a file with the names of the
    outputs, one a line in head order, for a checkpoint that does not name them. source_start : import the network
    without its head; the training on source images starts from it.

    Returns the manifest as it is read again, the name of the imported weights, and whether the manifest changed.
    Raises UserError for classes without an output, outputs without names, a network that the studies cannot use, looks
    that no image can have, and a source start without source images.
    """
    manifest = load_manifest(benchmark)
    if source_start and not len(manifest.rows(SOURCE)) and not describe(benchmark).source_images:
        raise UserError(
            f"benchmark {benchmark!r} has no source images to train a head on; add rows of the split {SOURCE!r}, or "
            "leave out --source-start and give a network with a head of its classes"
        )
    if not source_start:
        network = _cut_to(manifest, network, classes)
    update = {"class_ids": None} | _stated(network) | looks
    try:
        head = Head.model_validate(manifest.head.model_dump() | update)
    except pydantic.ValidationError as error:
        raise external_files.wrong_field(error, paths.display(network.path)) from None
    _check_size(network, head.image_size)
    name = import_weights(network, len(manifest.class_names), source_start)
    start = {"weights": SOURCE, "backbone": name} if source_start else {"weights": name, "backbone": None}
    changed = save_head(head.model_copy(update=start))
    return load_manifest(benchmark), name, changed


def backbone_fields(network: UserNetwork) -> dict:
    """Import a network without its head, and return the fields of a manifest's head that make runs start from it.

    Runs then give it a new head, see `pretrained.new_head`. Raises UserError as `import_weights`.
    """
    outputs = 2  # any number: the head is left out
    return _stated(network) | {"weights": import_weights(network, outputs, headless=True)}


def _stated(network: UserNetwork) -> dict:
    """The architecture of a network and the looks of images that it states, as fields of a manifest's head."""
    stated = network.model.pretrained_cfg
    looks = {"image_size": stated["input_size"][-1], "mean": tuple(stated["mean"]), "std": tuple(stated["std"])}
    return {"model": network.arch} | looks


def _check_size(network: UserNetwork, size: int) -> None:
    """Raise UserError if the network does not take images of that size."""
    try:
        with torch.inference_mode():
            network.model(torch.zeros(1, 3, size, size))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{network.arch} takes no images of {size} pixels ({str(error).splitlines()[0]}); leave out --image-size, "
            "or give another"
        ) from None


def _cut_to(manifest: Manifest, network: UserNetwork, classes: Path | None) -> UserNetwork:
    """The network with the manifest's classes as its outputs, in their order. Raises UserError."""
    if classes:
        written = external_files.read_lines(classes)
        if len(written) != network.model.num_classes or len(set(written)) < len(written):
            raise UserError(
                f"{paths.display(classes)} has {len(written)} names, {len(set(written))} of them distinct, for "
                f"{network.model.num_classes} outputs; write one name a line in head order"
            )
        network = replace(network, own_names=named(written))
    where = paths.display(network.path)
    if network.names is None:
        raise UserError(
            f"{where} does not name its {network.model.num_classes} outputs; give their names with --classes FILE, one "
            "a line in head order"
        )
    return network.cut(network.names.rows(manifest.class_names, where), manifest.class_names)


def import_weights(network: UserNetwork, num_classes: int, headless: bool = False) -> str:
    """Write a network's state dict into the project folder under a name that holds its hash; the name.

    headless : leave out the head. Raises UserError for a network that `create_model` does not make, and where the
    weights do not fit what it makes, such as a transformer for another image size.
    """
    if network.config and network.arch.startswith(transformers_model.PREFIX):
        transformers_model.keep_config(network.config)
    model, state = create_model(network.arch, num_classes), plain_state(network.model)
    head = f"{head_name(model)}."
    wanted = model.state_dict()
    if headless:
        wanted, state = _without(wanted, head), _without(state, head)
    elif model.get_classifier().bias is None:
        raise UserError(f"the head of {network.arch} has no bias, and the studies need one; choose another network")
    check_fit(wanted, state, network.arch, network.path)
    content = safetensors.torch.save(dict(sorted(state.items())))
    name = f"{_file_name(network.arch)}-{hashlib.sha256(content).hexdigest()[:12]}"
    if not paths.imported_weights(name).exists():
        files.write_bytes(paths.imported_weights(name), content)
    return name


def _without(state: dict[str, torch.Tensor], head: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith(head)}


def _file_name(arch: str) -> str:
    """The architecture as a part of a file name."""
    return re.sub(r"[^\w.-]", "-", arch)
