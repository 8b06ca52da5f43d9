"""L2SP: the backbone's weights are pulled back to where they started."""

from dataclasses import dataclass

import torch
from torch import nn

from ..core.options import not_negative
from ..training.method import TrainingData
from .finetune import FineTune


@dataclass
class L2SP(FineTune):
    """Cross-entropy plus `weight` times the squared distance of the backbone's weights from the pre-trained ones.

    The head is free. Source: Li et al. 2018; on the backbone alone as in Mukhoti et al. 2024.
    """

    title = "L2SP"
    choices = ("weight", (0.01, 0.1, 1.0))
    weight: float = not_negative(0.1)

    def prepare(self, model: nn.Module, data: TrainingData) -> None:
        head = {id(parameter) for parameter in model.get_classifier().parameters()}
        self._start = [(p, p.detach().clone()) for p in model.parameters() if id(p) not in head]

    def loss(self, model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean cross-entropy and the penalty."""
        loss, logits = super().loss(model, x, labels)
        distance = sum((now - start).square().sum() for now, start in self._start)
        return loss + self.weight * distance, logits
