"""Fold gamma into the head's bias: the calibrated model has the same architecture and the same cost.

Candidate head layers are tried; one is accepted if a probe batch gives exactly the shifted logits, up to rounding.
"""

import contextlib
import copy
import math
from collections.abc import Iterator

import torch
from torch import nn

from ..analysis.gamma.curve import shift_logits
from ..core.class_split import ClassSplit
from ..core.errors import UserError

MARKER = "analysis_lib_gamma"  # an attribute of folded modules, not in their state dict
ROUNDING = 16  # units in the last place of the largest logit by which the two may differ


def fold_gamma(model: nn.Module, split: ClassSplit, gamma: float, probe: torch.Tensor | None = None) -> nn.Module:
    """A deep copy of `model` whose head bias of the absent classes is raised by gamma; a head without bias gains one.

    model : any module with logits (N, C) whose head is one Linear or 1x1 convolution, or several that are averaged
    (distilled DeiT, LeViT); each of them then gets gamma. probe : a batch that the model takes; None for random
    numbers. Modes and weights of `model` do not change. Raises UserError for a model that is folded already, for a
    probe that it cannot take, and if no head is found whose bias shifts the logits. Source: ours.
    """
    if hasattr(model, MARKER):
        raise UserError(
            f"this {type(model).__name__} already carries gamma = {getattr(model, MARKER):g} in its head; start again "
            "from the model as it was fine-tuned"
        )
    if not math.isfinite(gamma):
        raise UserError(f"gamma is {gamma}; give a finite number")
    probe = _random_probe(model) if probe is None else probe
    logits = logits_of(model, probe)
    if logits.shape[1] != split.num_classes:
        raise UserError(
            f"the model has {logits.shape[1]} outputs and the split {split.num_classes} classes; they must agree"
        )
    if not logits.isfinite().all():
        raise UserError(f"this {type(model).__name__} answers with logits that are not finite; check its weights")
    for names in _candidates(model, split.num_classes):
        folded = copy.deepcopy(model)
        if _raise_bias(folded, names, split, gamma, probe, logits):
            setattr(folded, MARKER, float(gamma))
            return folded
    head = model.get_classifier() if hasattr(model, "get_classifier") else list(model.modules())[-1]
    raise UserError(
        f"cannot fold gamma into the head of {type(model).__name__} ({type(head).__name__}): no bias of it shifts the "
        f"{split.num_classes} logits; end the model in a Linear layer, or add gamma to its logits with shift_logits"
    )


def logits_of(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Logits (N, C) of `model` in eval mode for a batch x, without gradients; every submodule keeps its own mode.

    Raises UserError if the model cannot take the batch or returns anything but (N, C).
    """
    with evaluating(model), torch.no_grad():
        try:
            answer = model(x)
        except torch.OutOfMemoryError:
            raise UserError(f"the device has no memory for a batch of {len(x)}; use a smaller batch size") from None
        except (RuntimeError, AssertionError, TypeError, ValueError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(
                f"{type(model).__name__} cannot take a batch of shape {tuple(x.shape)} ({reason}); give images of the "
                "size it was made for"
            ) from None
    logits = getattr(answer, "logits", answer)  # as the networks of transformers answer
    if not isinstance(logits, torch.Tensor):
        raise _wrong_answer(model, f"a {type(logits).__name__}")
    if logits.ndim != 2:
        raise _wrong_answer(model, f"a tensor of shape {tuple(logits.shape)}")
    return logits


def placed(images: torch.Tensor, model: nn.Module) -> torch.Tensor:
    """Images on the model's device, and in its float type unless they are integers."""
    weight = next(model.parameters(), torch.empty(0))
    return images.to(weight) if images.is_floating_point() else images.to(weight.device)


def _wrong_answer(model: nn.Module, answer: str) -> UserError:
    return UserError(f"{type(model).__name__} answers with {answer}; wrap it so that it returns logits (N, C)")


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set eval mode inside the block, then restore the mode of each submodule."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _random_probe(model: nn.Module) -> torch.Tensor:
    """Two random samples of the size that timm states, or else of the size that the first layer takes."""
    first = next((module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d))), None)
    if first is None:
        raise UserError(
            f"{type(model).__name__} has no Linear or Conv2d layer; gamma can only be folded into a linear head"
        )
    shape = (getattr(model, "pretrained_cfg", None) or {}).get("input_size")
    if not shape:
        shape = (first.in_features,) if isinstance(first, nn.Linear) else (first.in_channels, 224, 224)
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).to(first.weight)


def _candidates(model: nn.Module, num_classes: int) -> Iterator[list[str]]:
    """Yield names of layers that may form the head: timm's whole classifier, then single layers, the last first."""
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d)) and module.weight.shape[0] == num_classes
    }
    if hasattr(model, "get_classifier"):
        classifier = model.get_classifier()
        parts = list(classifier) if isinstance(classifier, (tuple, list)) else [classifier]
        inside = {module for part in parts for module in part.modules()}
        whole = [name for name, module in layers.items() if module in inside]
        if whole:
            yield whole
    for name in reversed(layers):
        yield [name]


@torch.no_grad()
def _raise_bias(
    model: nn.Module, names: list[str], split: ClassSplit, gamma: float, probe: torch.Tensor, logits: torch.Tensor
) -> bool:
    """Raise the absent biases of the named layers by gamma in place. Returns whether that shifts `logits` by gamma.

    A shift as large as the logits is tried first, because a small gamma could be mistaken for rounding.
    """
    layers = [model.get_submodule(name) for name in names]
    for layer in layers:
        if layer.bias is None:
            zeros = layer.weight.new_zeros(split.num_classes)
            layer.bias = nn.Parameter(zeros, requires_grad=layer.weight.requires_grad)
    biases = [layer.bias.clone() for layer in layers]
    for shift in (1 + logits.abs().max().item(), gamma):
        for layer, bias in zip(layers, biases):
            layer.bias.copy_(shift_logits(bias, split, shift))
        expected = shift_logits(logits, split, shift)
        tolerance = min(ROUNDING * torch.finfo(logits.dtype).eps, 0.05) * (1 + expected.abs().max().item())
        if not torch.allclose(logits_of(model, probe), expected, rtol=0, atol=tolerance):
            return False
    return True
