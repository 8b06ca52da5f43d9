"""The softmax of the seen classes only: absent logits are masked out of the loss, and nothing pushes them down."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ..training.method import Method, TrainingData


@dataclass
class SeenSoftmax(Method):
    """Cross-entropy over the classes of the fine-tuning data. Absent logits move only with the features.

    Their rows of the head get no gradient; weight decay still shrinks them.
    """

    title = "seen softmax"

    def prepare(self, model: nn.Module, data: TrainingData) -> None:
        self._absent = torch.ones(model.get_classifier().out_features, dtype=torch.bool)
        self._absent[data.classes] = False

    def loss(self, model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean cross-entropy over the seen classes, and all C logits."""
        logits = model(x)
        masked = logits.masked_fill(self._absent.to(logits.device), -torch.inf)
        return cross_entropy(masked, labels), logits
