"""Visual prompt tuning: trained tokens beside those of the image, in the first block or anew in every block."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from ...core.options import count, part
from .blocks import ALL, blocks_of
from .inserted import Inserted, attach
from .technique import Technique


class Prompts(Inserted):
    """Puts p trained tokens (p, D) before the tokens (B, N, D) that enter a block."""

    interpolable = False  # fewer tokens are another network, and none of its own weights lies between

    def __init__(self, prompts: int, channels: int, patch: tuple[int, int], dropout: float):
        super().__init__()
        self.bound = math.sqrt(6 / (3 * math.prod(patch) + channels))
        self.prompts = nn.Parameter(torch.empty(prompts, channels))
        self.dropout = nn.Dropout(dropout)

    def start(self, generator: torch.Generator) -> None:
        nn.init.uniform_(self.prompts, -self.bound, self.bound, generator=generator)

    def enter(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.dropout(self.prompts.expand(len(x), -1, -1)), x], 1)


class BlockPrompts(Prompts):
    """The tokens leave again behind the block."""

    def leave(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return y[:, len(self.prompts) :]


class DropTokens(Inserted):
    """Takes away the first tokens of what enters a place."""

    def __init__(self, tokens: int):
        super().__init__()
        self.tokens = tokens

    def enter(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, self.tokens :]


@dataclass
class VPTShallow(Technique):
    """Prompts that enter the first block and pass through all of them. Source: Jia et al. 2022."""

    title = "VPT-shallow"
    prompts: int = count(10)
    dropout: float = part(0.1)

    def insert(self, model: nn.Module, generator: torch.Generator) -> None:
        block = blocks_of(model, self.title)[0]
        channels, patch = block.mlp.fc2.out_features, model.patch_embed.patch_size
        attach(block, Prompts(self.prompts, channels, patch, self.dropout), generator)
        attach(model.norm, DropTokens(self.prompts), generator)


@dataclass
class VPTDeep(Technique):
    """Prompts of its own for every block, which leave behind it. Source: Jia et al. 2022."""

    title = "VPT-deep"
    prompts: int = count(10)
    dropout: float = part(0.1)
    blocks: str = ALL

    def insert(self, model: nn.Module, generator: torch.Generator) -> None:
        for block in blocks_of(model, self.title, self.blocks):
            channels, patch = block.mlp.fc2.out_features, model.patch_embed.patch_size
            attach(block, BlockPrompts(self.prompts, channels, patch, self.dropout), generator)
