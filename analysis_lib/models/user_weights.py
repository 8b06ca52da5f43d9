"""Users' checkpoints of timm models: loaded strictly, and written again, with a marker if they are calibrated."""

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

    image_size : pixels; used only by architectures made for one size. Raises UserError for an unknown architecture, a
    file that is unreadable or does not fit, and a checkpoint that is calibrated already.
    """
    names = classifier_names(arch)
    state, metadata = external_files.read_weights(path)
    if MARKER in metadata:
        raise UserError(
            f"{paths.display(path)} is calibrated already (gamma = {metadata[MARKER]}); give the checkpoint as it was "
            "fine-tuned"
        )
    heads = [f"{name}.weight" for name in names if f"{name}.weight" in state]
    if not heads:
        raise UserError(
            f"{paths.display(path)} has no {names[0] if names else 'head'}.weight, the head of {arch}; its last "
            f"tensor is {list(state)[-1]!r}: name the architecture it was trained as"
        )
    size, sized = {}, ""
    if image_size and timm.models.get_pretrained_cfg(arch).fixed_input_size:
        size, sized = {"img_size": image_size}, f" for images of {image_size} pixels"
    try:
        model = timm.create_model(arch, num_classes=len(state[heads[0]]), **size)
    except (TypeError, AssertionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"timm cannot make {arch}{sized} ({str(error).splitlines()[0]}); choose another --image-size or --model"
        ) from None
    _check_fit(model.state_dict(), state, arch, path)
    model.load_state_dict(state)
    return model.eval()


def _check_fit(wanted: dict[str, torch.Tensor], state: dict[str, torch.Tensor], arch: str, path: Path) -> None:
    """Raise UserError if the tensors do not fit; it counts those that do not and names the first."""
    kinds = {
        "missing": [name for name in wanted if name not in state],
        "unexpected": [name for name in state if name not in wanted],
        "of another shape": [name for name in wanted if name in state and wanted[name].shape != state[name].shape],
    }
    found = [f"{len(names)} tensors {kind}, first {names[0]!r}" for kind, names in kinds.items() if names]
    if found:
        raise UserError(
            f"{paths.display(path)} does not fit {arch}: {'; '.join(found)}; name the architecture (and --image-size) "
            "it was trained with"
        )


def checkpoint_bytes(model: nn.Module, gamma: float | None) -> bytes:
    """A safetensors file of the model's state dict.

    gamma : the constant that the head carries, for the metadata; None if it carries none. It is the only entry there:
    the order of several would vary, and so would the bytes.
    """
    state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}
    return safetensors.torch.save(state, None if gamma is None else {MARKER: repr(float(gamma))})
