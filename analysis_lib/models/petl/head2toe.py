"""Pooled features of every depth of a frozen network, beside those that enter its head: the features of Head2Toe."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from ...core.errors import UserError
from ..gamma_bias import evaluating, placed
from ..stages import channel_axis, stage_names
from .blocks import is_vision_transformer
from .technique import Technique
from .wide_features import Source, head_start, widen_features, widen_head


@dataclass
class PooledFeatures(Technique):
    """The head gets what every block or stage of the frozen network gives, averaged over positions.

    Of each block of a vision transformer it gets the class token and the mean of the patches; of any other network the
    mean of every stage, see `models.stages`. start : as in `widen_head`. length : the usual length of the features that
    enter the head, for its pre-trained start; set it before insertion. Raises UserError for a network without stages.
    """

    title = "pooled features of every depth"
    any_network = True
    length = 1.0
    start: str = head_start()

    def insert(self, model: nn.Module, generator: torch.Generator) -> None:
        before = model.get_classifier().in_features
        widen_features(model, _sources(model))
        with evaluating(model), torch.no_grad():
            width = model.forward_features(placed(torch.zeros(1, *_image_shape(model)), model)).shape[1]
        widen_head(model, width - before, self.start, self.length, generator)


def _sources(model: nn.Module) -> list[Source]:
    if not is_vision_transformer(model):
        if not getattr(model, "feature_info", None):
            raise UserError(
                f"pooled features need the stages that timm lists in `feature_info`, and {type(model).__name__} lists "
                "none; choose another method"
            )
        return [(model.get_submodule(name), partial(_mean_of_positions, model)) for name in stage_names(model)]
    pools = [partial(_mean_of_patches, model.num_prefix_tokens)]
    if model.has_class_token:
        pools.insert(0, _class_token)
    return [(block, pool) for block in model.blocks for pool in pools]


def _class_token(tokens: torch.Tensor) -> torch.Tensor:
    return tokens[:, 0]


def _mean_of_patches(others: int, tokens: torch.Tensor) -> torch.Tensor:
    return tokens[:, others:].mean(1)


def _mean_of_positions(model: nn.Module, features: torch.Tensor) -> torch.Tensor:
    return features.movedim(channel_axis(model, features), -1).flatten(1, -2).mean(1)


def _image_shape(model: nn.Module) -> tuple[int, ...]:
    """The shape of an image that the network takes; a network that states none takes any size."""
    if is_vision_transformer(model):
        return (3, *model.patch_embed.img_size)
    return (getattr(model, "pretrained_cfg", None) or {}).get("input_size", (3, 32, 32))
