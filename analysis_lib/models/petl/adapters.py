"""Bottleneck adapters: Houlsby's and Pfeiffer's behind a branch, and AdaptFormer's beside the MLP."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from ...core.options import count, positive
from .blocks import blocks_of
from .inserted import Inserted, attach
from .technique import InBlocks

SMALL = 1e-6  # spread of the biases of random adapters


class Bottleneck(Inserted):
    """Adds scale * up(dropout(relu(down(y)))) to an output y (B, N, D), with r channels between."""

    def __init__(self, channels: int, rank: int, scale: float, dropout: float):
        super().__init__()
        self.scale = scale
        self.down = nn.Linear(channels, rank)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(rank, channels)

    def change(self, x: torch.Tensor) -> torch.Tensor:
        """What is added, for the input x of the bottleneck."""
        return self.merge * self.scale * self.up(self.dropout(self.down(x).relu()))

    def leave(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return y + self.change(y)


class RandomBottleneck(Bottleneck):
    """It starts with random weights on both sides, so the network at the start is not the pre-trained one."""

    def start(self, generator: torch.Generator) -> None:
        for linear in (self.down, self.up):
            nn.init.xavier_uniform_(linear.weight, generator=generator)
            nn.init.normal_(linear.bias, 0, SMALL, generator=generator)


class ZeroBottleneck(Bottleneck):
    """It adds 0 at the start."""

    def start(self, generator: torch.Generator) -> None:
        nn.init.xavier_uniform_(self.down.weight, generator=generator)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)


class Tap(Inserted):
    """Hands on the input of its place to a module that is attached further along."""

    def leave(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.seen = x
        return y

    def take(self) -> torch.Tensor:
        """The input, once."""
        seen, self.seen = self.seen, None
        return seen


class ParallelBottleneck(Bottleneck):
    """Adds the bottleneck of what a tap saw to the output. It adds 0 at the start."""

    def __init__(self, tap: Tap, channels: int, rank: int, scale: float, dropout: float):
        super().__init__(channels, rank, scale, dropout)
        self.tap = (tap,)  # in a tuple, so that it stays a submodule of its own place alone

    def start(self, generator: torch.Generator) -> None:
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5), generator=generator)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def leave(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return y + self.change(self.tap[0].take())


@dataclass
class Houlsby(InBlocks):
    """Random adapters behind the attention and behind the MLP of every block. Source: Houlsby et al. 2019."""

    title = "Houlsby adapters"

    def insert(self, model: nn.Module, generator: torch.Generator) -> None:
        for block in blocks_of(model, self.title, self.blocks):
            for place in (block.attn, block.mlp):
                channels = block.mlp.fc2.out_features
                attach(place, RandomBottleneck(channels, self.rank, self.scale, self.dropout), generator)


@dataclass
class PfeifferRandom(InBlocks):
    """Random adapters behind the MLP of every block. Source: Pfeiffer et al. 2021."""

    title = "Pfeiffer adapters, random start"
    bottleneck = RandomBottleneck

    def insert(self, model: nn.Module, generator: torch.Generator) -> None:
        for block in blocks_of(model, self.title, self.blocks):
            channels = block.mlp.fc2.out_features
            attach(block.mlp, self.bottleneck(channels, self.rank, self.scale, self.dropout), generator)


@dataclass
class Pfeiffer(PfeifferRandom):
    """Adapters behind the MLP of every block that add 0 at the start, as LoRA does. Source: Pfeiffer et al. 2021."""

    title = "Pfeiffer adapters"
    bottleneck = ZeroBottleneck


@dataclass
class AdaptFormer(InBlocks):
    """A bottleneck beside the MLP of every block, on what enters the block's second normalisation.

    Source: Chen et al. 2022.
    """

    title = "AdaptFormer"
    rank: int = count(64)
    scale: float = positive(0.1)

    def insert(self, model: nn.Module, generator: torch.Generator) -> None:
        for block in blocks_of(model, self.title, self.blocks):
            tap, channels = Tap(), block.mlp.fc2.out_features
            attach(block.norm2, tap, generator)
            attach(block.mlp, ParallelBottleneck(tap, channels, self.rank, self.scale, self.dropout), generator)
