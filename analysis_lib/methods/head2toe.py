"""A head on selected features of a frozen network: pooled ones of every depth (Head2Toe), or those of VQT."""

from dataclasses import dataclass

import torch
from torch import nn

from ..core.options import bounded, not_negative, part
from ..core.processes import total
from ..models.backbone import features_and_logits
from ..models.gamma_bias import evaluating
from ..models.petl.feature_selection import column_norms, keep_strongest, make_selectable
from ..models.petl.head2toe import PooledFeatures
from ..models.petl.vqt import VQT
from ..models.petl.wide_features import PRETRAINED
from ..training.method import TrainingData
from .frozen import train_head
from .petl import PETL


@dataclass
class Selection:
    """Put before a technique and PETL: training in two stages, with a selection of features between them.

    First everything trains on the loss plus `penalty` times the sum of the lengths of the head's columns (group lasso).
    Then the `fraction` of features with the longest columns is kept, the head starts again, and trains alone on them.
    With the pre-trained start, features that the pre-trained head uses begin with long columns. select : the fraction
    of the epochs for the first stage, rounded to whole epochs of which each stage has at least one; a run of one epoch
    selects nothing. Each stage has a cosine of its own. Source: Evci et al. 2022 (Head2Toe).
    """

    fraction: float = bounded(0.7, lambda value: 0 < value <= 1, "a number above 0, at most 1")
    penalty: float = not_negative(1e-4)
    select: float = part(0.5)

    def insert(self, model: nn.Module, generator: torch.Generator) -> None:
        super().insert(model, generator)
        make_selectable(model.get_classifier())

    def prepare(self, model: nn.Module, data: TrainingData) -> None:
        super().prepare(model, data)
        self._start = {name: weight.detach().clone() for name, weight in model.get_classifier().named_parameters()}
        self._epoch_steps = data.steps
        self._selected = False

    def before_epoch(self, model: nn.Module, done: float) -> None:
        if self._selected:
            train_head(model)
        else:
            super().before_epoch(model, done)

    def rate(self, step: int, steps: int) -> float:
        first = self._first_stage(steps)
        return super().rate(step, first) if step < first else super().rate(step - first, steps - first)

    def _first_stage(self, steps: int) -> int:
        """Its steps, of all steps of a run."""
        epochs = steps // self._epoch_steps
        return min(max(round(self.select * epochs), 1), epochs - 1) * self._epoch_steps

    def loss(self, model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean cross-entropy over all C classes; in the first stage plus the penalty."""
        loss, logits = super().loss(model, x, labels)
        if not self._selected:
            loss = loss + self.penalty * column_norms(model.get_classifier()).sum()
        return loss, logits

    def after_step(self, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, steps: int) -> None:
        """After the first stage, select, and forget the momentum."""
        if step + 1 == self._first_stage(steps):
            keep_strongest(model.get_classifier(), self.fraction, self._start)
            optimizer.state.clear()
            self._selected = True

    def state(self) -> dict[str, torch.Tensor]:
        return {"selected": torch.tensor(self._selected)}

    def load_state(self, tensors: dict[str, torch.Tensor]) -> None:
        self._selected = bool(tensors["selected"])


@dataclass
class Head2Toe(Selection, PooledFeatures, PETL):
    """A head on pooled features of every depth; those are selected that it needs.

    The network's pre-trained head, where training starts with it, is scaled by the mean length of its features on the
    images of the run. Source: Evci et al. 2022; the pre-trained start is ours.
    """

    title = "Head2Toe"

    def prepare(self, model: nn.Module, data: TrainingData) -> None:
        if self.start == PRETRAINED:
            self.length = mean_length(model, data)
        super().prepare(model, data)

    def before_epoch(self, model: nn.Module, done: float) -> None:
        train_head(model)


@dataclass
class VQTSelect(Selection, VQT, PETL):
    """VQT whose queries train in the first stage alone; then a head on a selection of all features.

    Source: Tu et al. 2023; that queries train with the penalty is ours.
    """

    title = "VQT, selected features"


@torch.no_grad()
def mean_length(model: nn.Module, data: TrainingData) -> float:
    """The mean length of the features that enter the head, in eval mode, over all images of a run."""
    length = torch.zeros(1, dtype=torch.float64)
    with evaluating(model):
        for x in data.passes("length"):
            length += features_and_logits(model, x)[0].double().norm(dim=1).sum().cpu()
    return total(length).item() / len(data.rows)
