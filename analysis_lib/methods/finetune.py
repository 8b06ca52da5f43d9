"""Plain fine-tuning: every weight trains on the cross-entropy over all classes."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ..training.method import Method


@dataclass
class FineTune(Method):
    """Plain fine-tuning, the method that the paper analyses."""

    title = "plain fine-tuning"

    def loss(self, model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean cross-entropy over all C classes."""
        logits = model(x)
        return cross_entropy(logits, labels), logits
