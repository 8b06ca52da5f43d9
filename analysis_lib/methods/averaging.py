"""Averages of weights: over the steps of the second half (SWA), and of before and after fine-tuning (WiSE)."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ..core.options import fraction, part
from ..models.batchnorm import reestimate
from ..models.weight_space import interpolate
from ..training.method import TrainingData
from .finetune import FineTune


@dataclass
class SWA(FineTune):
    """Stochastic weight averaging: the mean of the weights after every step from the fraction `start` on.

    The learning rate falls as in plain fine-tuning until then and stays constant. BatchNorm's statistics are
    re-estimated at the end. Source: Izmailov et al. 2018; the schedule is ours.
    """

    title = "SWA"
    choices = ("start", (0.25, 0.5, 0.75))
    start: float = part(0.25)

    def prepare(self, model: nn.Module, data: TrainingData) -> None:
        self._average = AveragedModel(model)

    def rate(self, step: int, steps: int) -> float:
        return super().rate(min(step, int(self.start * steps)), steps)

    def after_step(self, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, steps: int) -> None:
        if step >= int(self.start * steps):
            self._average.update_parameters(model)

    def state(self) -> dict[str, torch.Tensor]:
        return self._average.state_dict()

    def load_state(self, tensors: dict[str, torch.Tensor]) -> None:
        self._average.load_state_dict(tensors)

    def finish(self, model: nn.Module, data: TrainingData) -> None:
        model.load_state_dict(self._average.module.state_dict())
        reestimate(model, data.passes("batchnorm"))


@dataclass
class WiSE(FineTune):
    """Plain fine-tuning, then the weights a fraction `alpha` of the way from before to after it.

    BatchNorm's statistics are re-estimated. Source: Wortsman et al. 2022 (WiSE-FT), who take the middle if there is no
    data to choose by.
    """

    title = "WiSE"
    choices = ("alpha", (0.25, 0.5, 0.75))
    alpha: float = fraction(0.5)

    def prepare(self, model: nn.Module, data: TrainingData) -> None:
        self._start = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def finish(self, model: nn.Module, data: TrainingData) -> None:
        model.load_state_dict(interpolate(self._start, model.state_dict(), self.alpha))
        reestimate(model, data.passes("batchnorm"))
