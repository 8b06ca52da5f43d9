"""Scales, and shifts, of channels: DiffFit's gains of every residual branch, and SSF behind every operation."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from .blocks import PARTS, blocks_of
from .inserted import Inserted, attach
from .own_weights import biases, norm_weights
from .technique import Technique

SPREAD = 0.02  # of SSF's starting scales and shifts


class Gain(Inserted):
    """g * y for each channel of an output y (B, N, D); g starts at 1."""

    def __init__(self, channels: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def scale(self) -> torch.Tensor:
        """The factors (D,) with which channels are multiplied."""
        return 1 + self.merge * (self.gain - 1)

    def leave(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return y * self.scale()

    def folded(self, place: nn.Module) -> dict[str, torch.Tensor]:
        scale = self.scale()
        found = {"weight": place.weight * scale.reshape(-1, *[1] * (place.weight.ndim - 1))}
        return found if place.bias is None else found | {"bias": place.bias * scale}


class ScaleShift(Gain):
    """g * y + b for each channel, near g = 1 and b = 0 at the start."""

    def __init__(self, channels: int):
        super().__init__(channels)
        self.shift = nn.Parameter(torch.zeros(channels))

    def start(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.gain, 1, SPREAD, generator=generator)
        nn.init.normal_(self.shift, 0, SPREAD, generator=generator)

    def leave(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        channels_first = [1] * (y.ndim - 2) if y.ndim == 4 else []  # maps (B, D, H, W), else tokens (B, N, D)
        scale, shift = (v.reshape(-1, *channels_first) for v in (self.scale(), self.merge * self.shift))
        return y * scale + shift

    def folded(self, place: nn.Module) -> dict[str, torch.Tensor]:
        found = super().folded(place)
        return found | {"bias": found.get("bias", 0) + self.merge * self.shift}


@dataclass
class DiffFit(Technique):
    """All biases, all normalisation layers, and a gain for each channel of every residual branch.

    Source: Xie et al. 2023.
    """

    title = "DiffFit"
    folds = True

    def insert(self, model: nn.Module, generator: torch.Generator) -> None:
        for block in blocks_of(model, self.title):
            for place in (block.attn.proj, block.mlp.fc2):  # what follows in the branch acts on each channel alone
                attach(place, Gain(place.out_features), generator)

    def trained(self, model: nn.Module) -> Iterable[nn.Parameter]:
        return [*biases(model), *norm_weights(model)]


@dataclass
class SSF(Technique):
    """Scales and shifts of channels behind the patch embedding, every linear layer of a block, and every normalisation.

    They start near 1 and 0, so the network at the start is near the pre-trained one. Source: Lian et al. 2022.
    """

    title = "SSF"
    folds = True

    def insert(self, model: nn.Module, generator: torch.Generator) -> None:
        places = [block.get_submodule(part) for block in blocks_of(model, self.title) for part in PARTS]
        last = [norm for norm in (model.norm, model.fc_norm) if not isinstance(norm, nn.Identity)]  # tokens', or mean's
        for place in (model.patch_embed.proj, *places, *last):
            attach(place, ScaleShift(len(place.weight)), generator)
