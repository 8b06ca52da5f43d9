"""Fine-tuning with features that stay near the pre-trained ones: the last features, or those of every stage (LDIFS)."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ..core.errors import unknown
from ..core.options import not_negative
from ..models.backbone import features_and_logits
from ..models.reference import Reference
from ..models.stages import stages_and_logits
from ..training.method import Method, TrainingData

AXES = {"channel": -1, "token": 1}  # of stage features (B, P, D)


@dataclass
class FeatureDistance(Method):
    """Cross-entropy plus `weight` times the squared distance of the features that enter the head from the pre-trained.

    The distance of a sample is relative to the squared length of its pre-trained features, so that one weight fits any
    network. Source: as named in Tu et al. 2023; the scaling is ours.
    """

    title = "feature distance"
    choices = ("weight", (0.1, 1.0, 10.0))
    weight: float = not_negative(1.0)

    def prepare(self, model: nn.Module, data: TrainingData) -> None:
        self._reference = Reference(model)

    def loss(self, model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean cross-entropy and the penalty."""
        features, logits = features_and_logits(model, x)
        start, _ = self._reference(features_and_logits, x)
        distance = ((features - start).square().sum(1) / start.square().sum(1)).mean()
        return cross_entropy(logits, labels) + self.weight * distance, logits


@dataclass
class LDIFS(Method):
    """Cross-entropy plus `weight` times the distance of the features after every stage from the pre-trained ones.

    axis : the features of a sample have unit length along the channels (`channel`), or each channel along all
    positions (`token`, as in the published code). Source: Mukhoti et al. 2024. Raises UserError for another axis.
    """

    title = "LDIFS"
    choices = ("weight", (10.0, 100.0, 1000.0))
    weight: float = not_negative(1000.0)
    axis: str = "channel"

    def __post_init__(self):
        super().__post_init__()
        if self.axis not in AXES:
            raise unknown("axis", self.axis, AXES)

    def prepare(self, model: nn.Module, data: TrainingData) -> None:
        self._reference = Reference(model)

    def loss(self, model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean cross-entropy and the penalty."""
        stages, logits = stages_and_logits(model, x)
        start, _ = self._reference(stages_and_logits, x)
        return cross_entropy(logits, labels) + self.weight * stage_distance(stages, start, self.axis), logits


def stage_distance(stages: list[torch.Tensor], start: list[torch.Tensor], axis: str = "channel") -> torch.Tensor:
    """The LDIFS distance of two networks on a batch, a scalar: 0 for equal features.

    stages, start : per stage (B, P, D) features. Each is scaled to unit length along `axis`; the squared difference is
    averaged over samples, positions, channels and stages. Source: Mukhoti et al. 2024.
    """

    def unit(h: torch.Tensor) -> torch.Tensor:
        squares = h.square().sum(AXES[axis], keepdim=True)
        length = squares.clamp_min(torch.finfo(h.dtype).tiny).sqrt()  # the root's slope at 0 is infinite
        return h / (length + 1e-10)

    return sum((unit(now) - unit(before)).square().mean() for now, before in zip(stages, start)) / len(stages)
