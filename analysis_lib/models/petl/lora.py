"""LoRA: a product of two thin matrices is added to the weights of the attention's queries, keys and values."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from ...core.options import count, part
from .blocks import ALL, blocks_of
from .inserted import Inserted, attach
from .technique import Technique


class LowRank(Inserted):
    """y + B A x for a linear layer's input x and output y; B starts at 0."""

    def __init__(self, linear: nn.Linear, rank: int, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(linear.in_features, rank, bias=False)
        self.up = nn.Linear(rank, linear.out_features, bias=False)

    def start(self, generator: torch.Generator) -> None:
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5), generator=generator)
        nn.init.zeros_(self.up.weight)

    def leave(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return y + self.merge * self.up(self.down(self.dropout(x)))

    def folded(self, place: nn.Module) -> dict[str, torch.Tensor]:
        return {"weight": place.weight + self.merge * self.up.weight @ self.down.weight}


@dataclass
class LoRA(Technique):
    """One pair of thin matrices in every block, on queries, keys and values together. Without a scale alpha / rank.

    Source: Hu et al. 2022; one pair for the three, as in the PETL study of 2024 (arXiv 2409.16434).
    """

    title = "LoRA"
    folds = True
    rank: int = count(8)
    dropout: float = part(0.1)
    blocks: str = ALL

    def insert(self, model: nn.Module, generator: torch.Generator) -> None:
        for block in blocks_of(model, self.title, self.blocks):
            attach(block.attn.qkv, LowRank(block.attn.qkv, self.rank, self.dropout), generator)
