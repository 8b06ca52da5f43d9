"""Visual Query Tuning (VQT): queries summarise what each block attends to; the network itself stays as it is."""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn.functional import linear

from ...core.errors import UserError
from ...core.options import bounded, part
from .blocks import ANY_NETWORK, blocks_of
from .inserted import Inserted, add
from .technique import Technique
from .wide_features import PRETRAINED, expected_length, head_start, widen_features, widen_head


class Queries(Inserted):
    """T learned tokens (T, D) of a block, with dropout. They start uniform in -bound..bound."""

    interpolable = False

    def __init__(self, number: int, width: int, bound: float, dropout: float):
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(number, width))
        self.dropout = nn.Dropout(dropout)
        self.bound = bound

    def start(self, generator: torch.Generator) -> None:
        nn.init.uniform_(self.tokens, -self.bound, self.bound, generator=generator)

    def forward(self, images: int) -> torch.Tensor:
        """The tokens for each of some images, (N, T, D)."""
        return self.dropout(self.tokens.expand(images, -1, -1))


@dataclass
class VQT(Technique):
    """The head gets what T queries of every block read from the block's tokens, beside the features that it had.

    A query attends to the tokens of its block and goes through the rest of the block as they do, but no token attends
    to it, and it ends with its block. So the tokens are those of the frozen network, and no gradient passes through
    it. start : how the head starts; `pretrained` is ours and needs a LayerNorm before the head, see `widen_head` and
    `expected_length`; `fresh` is the published start. Source: Tu et al. 2023 (arXiv 2212.03220).
    """

    title = "visual query tuning (VQT)"
    queries: int = bounded(1, lambda value: value >= 0 and isinstance(value, int), "a whole number, 0 or more")
    dropout: float = part(0.1)
    start: str = head_start()

    def insert(self, model: nn.Module, generator: torch.Generator) -> None:
        blocks = _blocks_with_usual_attention(model, self.title)
        width = model.get_classifier().in_features
        bound = math.sqrt(6 / (model.patch_embed.proj.weight[0].numel() + width))  # 3 P P and D
        for block in blocks:
            add(block, Queries(self.queries, width, bound, self.dropout), generator)
        length = expected_length(model) if self.start == PRETRAINED else 1.0
        widen_head(model, len(blocks) * self.queries * width, self.start, length, generator)
        widen_features(model, [(block.attn.qkv, partial(summary, block)) for block in blocks])


def _blocks_with_usual_attention(model: nn.Module, title: str) -> list[nn.Module]:
    """`blocks_of`. Raises UserError as there, and for another attention than timm's usual one."""
    from timm.layers import Attention  # heavy, and only needed here

    blocks = blocks_of(model, title)
    for block in blocks:
        if not isinstance(block.attn, Attention):
            raise UserError(
                f"{title} needs timm's Attention in every block, and this network has {type(block.attn).__name__}; "
                f"{ANY_NETWORK}"
            )
    return blocks


def summary(block: nn.Module, projected: torch.Tensor) -> torch.Tensor:
    """What a block makes of its queries, (N, T * D).

    projected : (N, P, 3 D) queries, keys and values of the block's P tokens, which it computes anyway.
    """
    attn = block.attn
    queries = block.inserted(len(projected))
    normed = block.norm1(queries)
    bias = None if attn.qkv.bias is None else attn.qkv.bias[: attn.attn_dim]
    q = attn.q_norm(_by_head(linear(normed, attn.qkv.weight[: attn.attn_dim], bias), attn))
    keys, values = projected.chunk(3, -1)[1:]
    read = attend(q, attn.k_norm(_by_head(keys, attn)), _by_head(values, attn), attn.scale, attn.attn_drop)
    read = attn.norm(read.transpose(1, 2).flatten(2))
    if attn.gate is not None:
        read = read * attn.gate(normed).sigmoid()
    queries = queries + block.drop_path1(block.ls1(attn.proj_drop(attn.proj(read))))
    return (queries + block.drop_path2(block.ls2(block.mlp(block.norm2(queries))))).flatten(1)


def _by_head(tokens: torch.Tensor, attn: nn.Module) -> torch.Tensor:
    """(N, P, heads * d) to (N, heads, P, d)."""
    return tokens.unflatten(-1, (attn.num_heads, attn.head_dim)).transpose(1, 2)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, dropout: nn.Module) -> torch.Tensor:
    """softmax(scale q k^T) v for queries q (..., T, d) and fixed keys and values (..., P, d): (..., T, d).

    For the gradient with regard to q, the slope at q, (..., T, d, d), is kept where that is less than keys and values.
    """
    if not q.requires_grad or q.shape[-2] * q.shape[-1] > 2 * k.shape[-2]:
        return dropout((scale * q @ k.mT).softmax(-1)) @ v
    with torch.no_grad():
        shares = (scale * q @ k.mT).softmax(-1)
        kept = dropout(shares)
        read = kept @ v
        slope = (kept[..., None] * v[..., None, :, :]).mT @ k[..., None, :, :]
        slope = scale * (slope - read[..., None] * (shares @ k)[..., None, :])
    return read + (slope @ (q - q.detach())[..., None])[..., 0]
