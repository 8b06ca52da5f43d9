"""LOLSGD, leave-out local SGD: local runs that each miss some classes, averaged round by round."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel

from ..core.options import count, part
from ..models.batchnorm import reestimate
from ..training.method import Method, TrainingData


@dataclass
class LOLSGD(Method):
    """Every epoch is a round of `local_runs` from the same weights, each without a random share `left_out` of the seen
    classes; then the weights are averaged and BatchNorm's statistics re-estimated.

    A round has as many gradient steps as an epoch of plain fine-tuning, dealt evenly to its local runs, each of which
    begins without momentum. A local run keeps at least two classes. The learning rate falls from step to step as in
    plain fine-tuning, also between the local runs of a round. Source: the idea is Tu et al. 2023; constants and
    re-estimation are ours.
    """

    title = "LOLSGD"
    choices = ("left_out", (0.3, 0.5, 0.7))
    left_out: float = part(0.3)
    local_runs: int = count(3)

    def prepare(self, model: nn.Module, data: TrainingData) -> None:
        self._data = data
        self._absent = torch.ones(model.get_classifier().out_features, dtype=torch.bool)
        self._absent[data.classes] = False

    def batches(self, data: TrainingData, epoch: int, generator: torch.Generator) -> list[torch.Tensor]:
        """The steps of all local runs of a round, one run after another."""
        draws = data.generator("left out", epoch)
        found, self._ends, kept_by_step = [], [], []
        for steps in torch.arange(data.steps).tensor_split(min(self.local_runs, data.steps)):
            kept = self._draw_classes(data.classes, draws)
            rows = data.rows[torch.isin(data.labels[data.rows], kept)]
            wanted = round(len(data.rows) * len(steps) / data.steps)
            passes = -(-wanted // len(rows))
            order = torch.cat([rows[torch.randperm(len(rows), generator=generator)] for _ in range(passes)])
            found += order[:wanted].tensor_split(len(steps))
            self._ends.append(len(found))
            kept_by_step += [kept] * len(steps)
        self._taken, self._epoch, self._kept = 0, epoch, iter(kept_by_step)
        return found

    def _draw_classes(self, classes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        kept = max(min(2, len(classes)), len(classes) - int(self.left_out * len(classes)))
        return classes[torch.randperm(len(classes), generator=generator)[:kept]]

    def before_epoch(self, model: nn.Module, done: float) -> None:
        model.train()
        self._start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self._average = AveragedModel(model)

    def loss(self, model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean cross-entropy over all C classes."""
        logits = model(x)
        return cross_entropy(logits, labels), logits

    def after_step(self, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, steps: int) -> None:
        """At the end of a local run, average its weights; begin the next one, or end the round."""
        self._taken += 1
        if self._taken not in self._ends:
            return
        self._average.update_parameters(model)
        optimizer.state.clear()
        if self._taken < self._ends[-1]:
            model.load_state_dict(self._start)
        elif len(self._ends) > 1:
            model.load_state_dict(self._average.module.state_dict())
            reestimate(model, self._data.passes("batchnorm", self._epoch))


@dataclass
class MaskedLOLSGD(LOLSGD):
    """LOLSGD whose local runs also mask the seen classes that they leave out from the softmax.

    Nothing then pushes those classes down, as nothing would if they were not among the classes at all. Logits of absent
    classes stay in the softmax.
    """

    title = "LOLSGD, masked"

    def loss(self, model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean cross-entropy over the absent classes and those of the local run, and all C logits."""
        logits = model(x)
        shown = self._absent.clone()
        shown[next(self._kept)] = True  # one step's loss after another
        masked = logits.masked_fill(~shown.to(logits.device), -torch.inf)
        return cross_entropy(masked, labels), logits
