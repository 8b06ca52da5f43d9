"""Other people's checkpoints of timm models: built, loaded strictly, and written back with a marker of what was folded in."""

from pathlib import Path

import safetensors.torch
import timm
import torch
from torch import nn

from ..core import external_files, paths
from ..core.errors import UserError, unknown

MARKER = "analysis_lib.gamma"  # in the metadata of a calibrated checkpoint


def classifier_names(arch: str) -> tuple[str, ...]:
    """State-dict prefixes of a timm architecture's heads, such as `("fc",)`. Raises UserError for an unknown name."""
    if not timm.is_model(arch):
        raise unknown("timm architecture", arch, timm.list_models())
    try:
        names = timm.models.get_pretrained_cfg(arch).classifier
    except RuntimeError as error:  # an unknown tag behind the name
        raise UserError(f"timm has no {arch!r} ({str(error).rstrip('.')}); leave out what follows the dot") from None
    return (names,) if isinstance(names, str) else tuple(names or ())


def load_classifier(arch: str, path: Path, image_size: int | None = None) -> nn.Module:
    """A timm model with the weights of a checkpoint, in eval mode; the number of outputs comes from its head.

    image_size : pixels; given to architectures that are made for one size. Raises UserError for an unknown
    architecture, an unreadable or unfitting file, and a checkpoint that carries gamma already.
    """
    names = classifier_names(arch)
    state, metadata = external_files.read_weights(path)
    if MARKER in metadata:
        raise UserError(f"{paths.display(path)} is calibrated already (gamma = {metadata[MARKER]}); give the checkpoint as it was fine-tuned")
    heads = [f"{name}.weight" for name in names if f"{name}.weight" in state]
    if not heads:
        raise UserError(f"{paths.display(path)} has no {names[0] if names else 'head'}.weight, the head of {arch}; its last tensor is "
                        f"{list(state)[-1]!r}: name the architecture it was trained as")
    size = {"img_size": image_size} if image_size and timm.models.get_pretrained_cfg(arch).fixed_input_size else {}
    try:
        model = timm.create_model(arch, num_classes=len(state[heads[0]]), **size)
    except (TypeError, AssertionError, RuntimeError, ValueError) as error:
        raise UserError(f"timm cannot make {arch}{f' for images of {image_size} pixels' if size else ''} ({str(error).splitlines()[0]}); "
                        "choose another --image-size or --model") from None
    _check_fit(model.state_dict(), state, arch, path)
    model.load_state_dict(state)
    return model.eval()


def _check_fit(wanted: dict[str, torch.Tensor], state: dict[str, torch.Tensor], arch: str, path: Path) -> None:
    """Raise UserError that counts what does not fit and names the first of it."""
    kinds = {
        "missing": [name for name in wanted if name not in state],
        "unexpected": [name for name in state if name not in wanted],
        "of another shape": [name for name in wanted if name in state and wanted[name].shape != state[name].shape],
    }
    found = [f"{len(names)} tensors {kind}, first {names[0]!r}" for kind, names in kinds.items() if names]
    if found:
        raise UserError(f"{paths.display(path)} does not fit {arch}: {'; '.join(found)}; name the architecture (and --image-size) it was trained with")


def calibrated_bytes(model: nn.Module, gamma: float) -> bytes:
    """A safetensors file of the model's state dict, marked as carrying gamma; a second entry would make its bytes vary."""
    state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}
    return safetensors.torch.save(state, {MARKER: repr(float(gamma))})
