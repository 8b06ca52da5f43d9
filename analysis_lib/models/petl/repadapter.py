"""RepAdapter: a linear bottleneck in front of the attention and of the MLP, which folds into their first layers."""

from dataclasses import dataclass

import torch
from torch import nn

from ...core.errors import UserError
from .blocks import blocks_of
from .inserted import Inserted, attach
from .technique import InBlocks

GROUPS = 2  # of the second layer


class LinearBottleneck(Inserted):
    """x + scale * B(dropout(A x)) for the input x (B, N, D) of a linear layer; B has two groups and starts at 0."""

    def __init__(self, channels: int, rank: int, scale: float, dropout: float):
        super().__init__()
        self.scale = scale
        self.down = nn.Conv1d(channels, rank, 1)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Conv1d(rank, channels, 1, groups=GROUPS)

    def start(self, generator: torch.Generator) -> None:
        nn.init.xavier_uniform_(self.down.weight, generator=generator)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def enter(self, x: torch.Tensor) -> torch.Tensor:
        change = self.up(self.dropout(self.down(x.transpose(1, 2)))).transpose(1, 2)
        return x + self.merge * self.scale * change

    def folded(self, place: nn.Module) -> dict[str, torch.Tensor]:
        """A linear layer W(x + s B(A x + a) + s b) has the weights W(1 + s B A) and the bias W s (B a + b) more."""
        up = torch.block_diag(*self.up.weight.squeeze(2).chunk(GROUPS))
        factor = self.merge * self.scale
        weight = place.weight + factor * place.weight @ up @ self.down.weight.squeeze(2)
        added = factor * place.weight @ (up @ self.down.bias + self.up.bias)
        return {"weight": weight, "bias": added if place.bias is None else place.bias + added}


@dataclass
class RepAdapter(InBlocks):
    """A linear bottleneck between normalisation and attention, and between normalisation and MLP, of every block.

    rank : even. Source: Luo et al. 2023. Raises UserError for an odd rank.
    """

    title = "RepAdapter"
    folds = True

    def insert(self, model: nn.Module, generator: torch.Generator) -> None:
        if self.rank % GROUPS:
            raise UserError(f"option rank of the method {self.title!r} is {self.rank}; give an even number")
        for block in blocks_of(model, self.title, self.blocks):
            for place in (block.attn.qkv, block.mlp.fc1):
                attach(place, LinearBottleneck(place.in_features, self.rank, self.scale, self.dropout), generator)
