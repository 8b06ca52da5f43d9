"""Features, logits and head name of any classifier with timm's interface and one linear head."""

import torch
from torch import nn


def head_name(model: nn.Module) -> str:
    """The state-dict prefix of the linear head, e.g. `classifier`."""
    return next(name for name, module in model.named_modules() if module is model.get_classifier())


def features_and_logits(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The features (N, D) that enter the head and the logits (N, C), in one pass."""
    features = model.forward_head(model.forward_features(x), pre_logits=True)
    return features, model.get_classifier()(features)
