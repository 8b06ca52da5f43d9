"""Users' checkpoints of timm models: loaded strictly, and written again, with a marker if they are calibrated."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
from torch import nn

from ..core import external_files, paths
from ..core.errors import UserError, unknown
from .likely_architecture import likely_sentence

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
    refuse_calibrated(path, metadata)
    heads = [f"{name}.weight" for name in names if f"{name}.weight" in state]
    if not heads:
        raise UserError(
            f"{paths.display(path)} has no {names[0] if names else 'head'}.weight, the head of {arch}; its last "
            f"tensor is {list(state)[-1]!r}: name the architecture it was trained as{likely_sentence(state, arch)}"
        )
    size, sized = {}, ""
    if image_size and timm.models.get_pretrained_cfg(arch).fixed_input_size:
        size, sized = {"img_size": image_size}, f" for images of {image_size} pixels"
    with creating(arch, sized):
        model = timm.create_model(arch, num_classes=len(state[heads[0]]), **size)
    check_fit(model.state_dict(), state, arch, path)
    model.load_state_dict(state)
    return model.eval()


def refuse_calibrated(path: Path, metadata: dict[str, str]) -> None:
    """Raise UserError if the metadata of a checkpoint says that its head carries gamma."""
    if MARKER in metadata:
        raise calibrated_already(path, metadata[MARKER])


def calibrated_already(path: Path, gamma: object) -> UserError:
    """The error for a checkpoint whose head carries gamma."""
    return UserError(
        f"{paths.display(path)} is calibrated already (gamma = {gamma}); give the checkpoint as it was fine-tuned"
    )


@contextlib.contextmanager
def creating(arch: str, sized: str = "") -> Iterator[None]:
    """Turn what timm raises for options that do not fit an architecture into a UserError. sized : for the message."""
    try:
        yield
    except (TypeError, AssertionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"timm cannot make {arch}{sized} ({str(error).splitlines()[0]}); choose another --image-size or --model"
        ) from None


def check_fit(wanted: dict[str, torch.Tensor], state: dict[str, torch.Tensor], arch: str, path: Path) -> None:
    """Raise UserError if the tensors do not fit or are not finite; it counts those and names the first."""
    kinds = {
        "missing": [name for name in wanted if name not in state],
        "unexpected": [name for name in state if name not in wanted],
        "of another shape": [name for name in wanted if name in state and wanted[name].shape != state[name].shape],
        "of another kind of number": [
            name
            for name in wanted
            if name in state and wanted[name].is_floating_point() != state[name].is_floating_point()
        ],
    }
    found = [f"{len(names)} tensors {kind}, first {names[0]!r}" for kind, names in kinds.items() if names]
    if found:
        raise UserError(
            f"{paths.display(path)} does not fit {arch}: {'; '.join(found)}; name the architecture (and --image-size) "
            f"it was trained with{likely_sentence(state, arch)}"
        )
    _check_finite(wanted, state, path)


def _check_finite(wanted: dict[str, torch.Tensor], state: dict[str, torch.Tensor], path: Path) -> None:
    """Raise UserError for NaN and infinities where a new network has none, such as masks may."""
    spoilt = [name for name in wanted if not state[name].isfinite().all() and wanted[name].isfinite().all()]
    if spoilt:
        raise UserError(
            f"{paths.display(path)} holds numbers that are not finite in {len(spoilt)} tensors, first {spoilt[0]!r}; "
            "give a checkpoint of a training that did not diverge"
        )


def plain_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict of a model on the CPU, each tensor with memory of its own, as safetensors takes it."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}
