"""A cosine head: logits that depend on the directions of features and head rows, and not on their lengths."""

import torch
from torch import nn
from torch.nn import functional

from .backbone import head_name


class CosineHead(nn.Linear):
    """z_c = scale * cos(w_c, f), made from the rows of a linear head. Source: Gidaris and Komodakis 2018;
    that the scale is fixed is ours.

    The rows keep their lengths, which no logit depends on. `scale` and `bias` are buffers: neither is trained, whatever
    a method freezes. The bias is 0, and is there for those who read the bias of a head or add to it.
    """

    def __init__(self, linear: nn.Linear, scale: float = 1.0):
        weight = linear.weight.detach()
        super().__init__(linear.in_features, linear.out_features, False, weight.device, weight.dtype)
        self.weight = nn.Parameter(weight.clone())
        del self.bias  # an absent parameter, in whose place comes a buffer
        self.register_buffer("bias", weight.new_zeros(linear.out_features))
        self.register_buffer("scale", weight.new_tensor(scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (N, D) to logits (N, C)."""
        cosines = functional.linear(functional.normalize(x, dim=-1), functional.normalize(self.weight, dim=-1))
        return self.scale * cosines + self.bias


def use_cosine_head(model: nn.Module, scale: float = 1.0) -> None:
    """Put a cosine head with the rows of the model's linear head in its place.

    It loses the lengths of the rows and the bias, so a pre-trained network's accuracy changes before any training.
    """
    model.set_submodule(head_name(model), CosineHead(model.get_classifier(), scale))


def logit_scale(weight: torch.Tensor, features: torch.Tensor) -> float:
    """The mean length of the head's rows (C, D) times that of the features (N, D): the logits keep their scale.

    It needs no labels, and no accuracy depends on it before fine-tuning. Source: ours.
    """
    return (weight.double().norm(dim=1).mean() * features.double().norm(dim=1).mean()).item()
