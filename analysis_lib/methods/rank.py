"""Effective-rank regularisation: the features of a batch are kept from collapsing."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ..core.options import not_negative
from ..models.backbone import features_and_logits
from ..training.method import Method


@dataclass
class Rank(Method):
    """Cross-entropy minus `weight` times the entropy of the singular values of a batch's centred features.

    Source: as named in Tu et al. 2023; effective rank by Roy and Vetterli 2007.
    """

    title = "effective rank"
    choices = ("weight", (0.01, 0.1, 1.0))
    weight: float = not_negative(0.01)

    def loss(self, model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean cross-entropy minus the weighted entropy."""
        features, logits = features_and_logits(model, x)
        return cross_entropy(logits, labels) - self.weight * rank_entropy(features), logits


def rank_entropy(features: torch.Tensor) -> torch.Tensor:
    """The logarithm of the effective rank of features (N, D), a scalar in 0..log(min(N - 1, D)).

    The singular values of the centred features are scaled to sum 1; their entropy is returned.
    """
    values = torch.linalg.svdvals(features - features.mean(0))
    values = values[: min(len(features) - 1, features.shape[1])]  # centring leaves at most N - 1
    shares = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return torch.special.entr(shares.clamp_min(1e-7)).sum()  # the entropy's slope at 0 is infinite
