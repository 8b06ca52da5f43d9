"""The features of a network after each of its stages."""

import torch
from torch import nn

STAGES = 5  # at most; of deeper lists, such as the blocks of a transformer, as many at even depths


def stage_names(model: nn.Module) -> list[str]:
    """The names of the modules whose outputs are stage features, from timm's `feature_info`; the last is the deepest.

    Convolutional networks have up to five stages; of a transformer's blocks, five at even depths are taken.
    """
    names = [info["module"] for info in model.feature_info]
    if len(names) <= STAGES:
        return names
    return [names[len(names) * (stage + 1) // STAGES - 1] for stage in range(STAGES)]


def channel_axis(model: nn.Module, features: torch.Tensor) -> int:
    """The axis of the channels: the last for tokens (B, T, D) and for timm's NHWC maps, else 1."""
    return -1 if features.ndim == 3 or getattr(model, "output_fmt", "NCHW") == "NHWC" else 1


def stages_and_logits(model: nn.Module, x: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Stage features, each (B, P, D) with P positions and D channels, and the logits (B, C), in one pass."""
    found: list[torch.Tensor] = []

    def record(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        found.append(output.movedim(channel_axis(model, output), -1).flatten(1, -2))

    hooks = [model.get_submodule(name).register_forward_hook(record) for name in stage_names(model)]
    try:
        logits = model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return found, logits
