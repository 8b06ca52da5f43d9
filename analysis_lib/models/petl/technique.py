"""Technique, the base class of parameter-efficient fine-tuning: what is inserted into a network, and what trains."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from ...core.options import count, part, positive
from .blocks import ALL


class Technique:
    """A way to train few weights: a dataclass whose fields are its options.

    `insert` adds modules, which all train, as the head does; `trained` names further weights that do. Every other
    weight is frozen.
    """

    title: ClassVar[str]
    any_network: ClassVar[bool] = False  # or timm's vision transformers alone
    folds: ClassVar[bool] = False  # whether the trained network can be written as a plain one, by `folded_state`

    def insert(self, model: nn.Module, generator: torch.Generator) -> None:
        """Insert modules whose weights are drawn from the generator. Raises UserError for a network without a place."""

    def trained(self, model: nn.Module) -> Iterable[nn.Parameter]:
        """The network's own weights, beside its head, that train. Raises UserError as `insert`."""
        return ()


@dataclass
class InBlocks(Technique):
    """A technique with a module of `rank` channels in blocks, whose change is multiplied by `scale`.

    dropout : within the module. blocks : their numbers, as in `blocks.chosen`, or all.
    """

    rank: int = count(8)
    scale: float = positive(1.0)
    dropout: float = part(0.1)
    blocks: str = ALL
