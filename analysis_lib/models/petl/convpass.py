"""ConvPass: a small convolution over the grid of patches beside the attention and beside the MLP."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from ...core.errors import UserError
from .blocks import blocks_of
from .inserted import Inserted, attach
from .technique import InBlocks


def quick_gelu(x: torch.Tensor) -> torch.Tensor:
    """x * sigmoid(1.702 x), close to GELU."""
    return x * torch.sigmoid(1.702 * x)


class ConvBypass(Inserted):
    """Adds scale * up(dropout(gelu(conv(gelu(down(x)))))) to the output for an input x (B, N, D); it starts at 0.

    The 3x3 convolution sees the patches as their grid, and each token before them, such as CLS, as a map of one pixel.
    grid : (height, width) in patches. prefix : the number of tokens before the patches. Raises UserError for images
    with another number of patches.
    """

    def __init__(self, channels: int, rank: int, scale: float, dropout: float, grid: tuple[int, int], prefix: int):
        super().__init__()
        self.scale, self.grid, self.prefix = scale, grid, prefix
        self.down = nn.Linear(channels, rank)
        self.conv = nn.Conv2d(rank, rank, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(rank, channels)

    def start(self, generator: torch.Generator) -> None:
        nn.init.xavier_uniform_(self.down.weight, generator=generator)
        nn.init.dirac_(self.conv.weight)  # the identity
        for zero in (self.down.bias, self.conv.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def leave(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if x.shape[1] != self.prefix + math.prod(self.grid):
            raise UserError(
                f"ConvPass was inserted for images of {self.grid[0]}x{self.grid[1]} patches, and these have "
                f"{x.shape[1] - self.prefix}; give images of the network's size, and keep all patches in training"
            )
        h = quick_gelu(self.down(x))
        single = h[:, : self.prefix].flatten(0, 1)[:, :, None, None]
        patches = h[:, self.prefix :].transpose(1, 2).unflatten(2, self.grid)
        before = self.conv(single).flatten(1).unflatten(0, (len(x), self.prefix))
        h = torch.cat([before, self.conv(patches).flatten(2).transpose(1, 2)], 1)
        return y + self.merge * self.scale * self.up(self.dropout(quick_gelu(h)))


@dataclass
class ConvPass(InBlocks):
    """A convolutional bypass beside the attention and beside the MLP of every block, on what enters them.

    Source: Jie and Deng 2022.
    """

    title = "ConvPass"

    def insert(self, model: nn.Module, generator: torch.Generator) -> None:
        blocks = blocks_of(model, self.title, self.blocks)
        tokens = (model.patch_embed.grid_size, model.num_prefix_tokens)
        for block in blocks:
            for place in (block.attn, block.mlp):
                channels = block.mlp.fc2.out_features
                attach(place, ConvBypass(channels, self.rank, self.scale, self.dropout, *tokens), generator)
