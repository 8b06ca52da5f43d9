"""Fine-tuning on smoothed labels."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ..core.options import fraction
from ..training.method import Method


@dataclass
class LabelSmoothing(Method):
    """A share `smoothing` of every label is spread evenly over all C classes, the absent ones among them.

    Source: Szegedy et al. 2016.
    """

    title = "label smoothing"
    choices = ("smoothing", (0.05, 0.1, 0.2))
    smoothing: float = fraction(0.1)

    def loss(self, model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean cross-entropy with the smoothed labels."""
        logits = model(x)
        return cross_entropy(logits, labels, label_smoothing=self.smoothing), logits
