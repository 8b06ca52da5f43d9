"""Features, logits and head name of any classifier with timm's interface and one linear head."""

from functools import partial

import torch
from torch import nn


def head_name(model: nn.Module) -> str:
    """The state-dict prefix of the linear head, e.g. `classifier`."""
    return next(name for name, module in model.named_modules() if module is model.get_classifier())


def features_and_logits(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The features (N, D) that enter the head and the logits (N, C), in one pass."""
    features = model.forward_head(model.forward_features(x), pre_logits=True)
    return features, model.get_classifier()(features)


def backbone_in_bfloat16(model: nn.Module) -> None:
    """Let all that comes before the head compute in bfloat16 from now on, where torch takes that to be safe.

    The model keeps its float32 weights. Its features are handed on in float32, so head and loss are computed in
    float32, and logits are finer than bfloat16's steps. A copy of the model does the same.
    """
    model.forward_features = partial(_autocast, model.forward_features)


def _autocast(forward, x: torch.Tensor, **options) -> torch.Tensor:
    with torch.autocast(x.device.type, torch.bfloat16):
        return forward(x, **options).float()
