"""Techniques that insert nothing: biases, the weights of normalisation layers, or some blocks train."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...core.errors import UserError, unknown
from ..adapter import stage_places
from .blocks import blocks_of, chosen
from .technique import Technique

NORMS = (nn.LayerNorm, nn.GroupNorm, _BatchNorm)
PLACES = {  # of the weights of a part, in a block of a vision transformer
    "attention": ("attn.qkv", "attn.proj"),
    "qkv": ("attn.qkv",),
    "proj": ("attn.proj",),
    "mlp": ("mlp.fc1", "mlp.fc2"),
    "fc1": ("mlp.fc1",),
    "fc2": ("mlp.fc2",),
}
WHOLE = "block"


def biases(model: nn.Module) -> list[nn.Parameter]:
    """Every weight with `bias` in its name."""
    return [parameter for name, parameter in model.named_parameters() if "bias" in name]


def norm_weights(model: nn.Module) -> list[nn.Parameter]:
    """The scales and shifts of the normalisation layers."""
    return [p for module in model.modules() if isinstance(module, NORMS) for p in module.parameters(recurse=False)]


@dataclass
class BiasesAndHead(Technique):
    """All biases. Source: Ben Zaken et al. 2022 (BitFit), who also train the head."""

    title = "biases and head (BitFit)"
    any_network, folds = True, True

    def trained(self, model: nn.Module) -> Iterable[nn.Parameter]:
        return biases(model)


@dataclass
class Normalisation(Technique):
    """The scales and shifts of all normalisation layers: LayerNorm, in a vision transformer.

    BatchNorm's statistics adapt as well. Raises UserError for a network that has none.
    """

    title = "normalisation and head (LayerNorm)"
    any_network, folds = True, True

    def trained(self, model: nn.Module) -> Iterable[nn.Parameter]:
        found = norm_weights(model)
        if not found:
            raise UserError(f"{self.title} finds no normalisation in {type(model).__name__}; choose another method")
        return found


@dataclass
class Selected(Technique):
    """Some blocks, or one part of each. In a network that is no vision transformer, stages take the place of blocks.

    blocks : their numbers, such as `10,11`, where -1 is the last; or `all`. part : `block`, or of a transformer's block
    `attention`, `qkv`, `proj`, `mlp`, `fc1` or `fc2`. Raises UserError for a part or block that there is not.
    """

    title = "selected blocks"
    any_network, folds = True, True
    blocks: str = "-1"
    part: str = WHOLE

    def trained(self, model: nn.Module) -> Iterable[nn.Parameter]:
        if self.part == WHOLE:
            stages = [model.get_submodule(name) for name in stage_places(model)]
            if not stages:
                raise UserError(f"{self.title} finds no blocks in {type(model).__name__}; choose another method")
            return [p for stage in chosen(stages, self.title, self.blocks) for p in stage.parameters()]
        if self.part not in PLACES:
            raise unknown(f"part of {self.title}", self.part, [WHOLE, *PLACES])
        blocks = blocks_of(model, self.title, self.blocks)
        return [p for block in blocks for place in PLACES[self.part] for p in block.get_submodule(place).parameters()]
