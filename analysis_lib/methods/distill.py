"""Distillation from the network before fine-tuning, on all logits or on those of the absent classes."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import kl_div

from ..core.options import not_negative, positive
from ..models.reference import Reference
from ..training.method import TrainingData
from .finetune import FineTune


@dataclass
class Distill(FineTune):
    """Cross-entropy plus `weight` times the divergence of the softmax from the pre-trained one, over all classes.

    temperature : divides the logits of both; the divergence is multiplied by its square. Source: Li and Hoiem 2016
    (learning without forgetting), as in Tu et al. 2023.
    """

    title = "distillation, all logits"
    choices = ("weight", (0.1, 1.0, 10.0))
    weight: float = not_negative(0.1)
    temperature: float = positive(2.0)

    def prepare(self, model: nn.Module, data: TrainingData) -> None:
        self._reference = Reference(model)
        head = model.get_classifier()
        self._columns = self.columns(head.out_features, data).to(head.weight.device)

    def columns(self, num_classes: int, data: TrainingData) -> torch.Tensor:
        """The classes whose softmax is compared."""
        return torch.arange(num_classes)

    def loss(self, model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean cross-entropy and the penalty."""
        loss, logits = super().loss(model, x, labels)
        start = self._reference(lambda network, batch: network(batch), x)
        now, before = (z[:, self._columns].div(self.temperature).log_softmax(1) for z in (logits, start))
        penalty = self.temperature**2 * kl_div(now, before, reduction="batchmean", log_target=True)
        return loss + self.weight * penalty, logits


@dataclass
class DistillAbsent(Distill):
    """As `Distill`, over the absent classes alone: it keeps their relations, and leaves their level free."""

    title = "distillation, absent logits"

    def columns(self, num_classes: int, data: TrainingData) -> torch.Tensor:
        absent = torch.ones(num_classes, dtype=torch.bool)
        absent[data.classes] = False
        return absent.nonzero().flatten()
