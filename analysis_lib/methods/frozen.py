"""Fine-tuning a part of the weights: the head, all but the head, BatchNorm, or biases; and the head first (LP-FT)."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ..core.errors import UserError
from ..core.options import fraction
from ..models.batchnorm import batchnorms, reestimate
from ..training.method import TrainingData
from .finetune import FineTune


def train_only(model: nn.Module, trained: Callable[[str, nn.Parameter], bool]) -> None:
    """Freeze every parameter but those for which `trained(name, parameter)`."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained(name, parameter))


def _ids(modules) -> set[int]:
    return {id(parameter) for module in modules for parameter in module.parameters()}


def train_head(model: nn.Module) -> None:
    """Freeze the backbone: its weights, and BatchNorm's statistics. Only the head is in train mode."""
    head = _ids([model.get_classifier()])
    train_only(model, lambda name, parameter: id(parameter) in head)
    model.eval()
    model.get_classifier().train()


@dataclass
class LinearProbe(FineTune):
    """The head trains on frozen features."""

    title = "linear probe"

    def prepare(self, model: nn.Module, data: TrainingData) -> None:
        train_head(model)

    def before_epoch(self, model: nn.Module, done: float) -> None:
        train_head(model)


@dataclass
class FrozenHead(FineTune):
    """The backbone trains, and the head keeps its pre-trained weights. Source: Tu et al. 2023 (Holistic Transfer)."""

    title = "frozen head"

    def prepare(self, model: nn.Module, data: TrainingData) -> None:
        model.get_classifier().requires_grad_(False)


@dataclass
class BatchNormStatistics(FineTune):
    """No weight trains: BatchNorm gets the statistics of the fine-tuning images, as `reestimate` pools them.

    The Outputs of epochs before the last one have running averages over the batches instead.
    """

    title = "BatchNorm statistics"

    def prepare(self, model: nn.Module, data: TrainingData) -> None:
        model.requires_grad_(False)

    def finish(self, model: nn.Module, data: TrainingData) -> None:
        reestimate(model, data.passes("batchnorm"))


@dataclass
class BatchNormAffine(FineTune):
    """BatchNorm's scales and shifts train, and its statistics adapt; every other weight is frozen.

    In a network without BatchNorm, those of its LayerNorm and GroupNorm train. Raises UserError for a network that has
    none.
    """

    title = "BatchNorm affine"

    def prepare(self, model: nn.Module, data: TrainingData) -> None:
        norms = batchnorms(model) or [m for m in model.modules() if isinstance(m, (nn.LayerNorm, nn.GroupNorm))]
        chosen = _ids(norms)
        if not chosen:
            raise UserError(
                f"{self.title} finds no BatchNorm, LayerNorm or GroupNorm with weights in {type(model).__name__}; "
                "choose another method"
            )
        train_only(model, lambda name, parameter: id(parameter) in chosen)


@dataclass
class BitFit(FineTune):
    """Only biases train, those of normalisation layers and of the head among them. Source: Ben Zaken et al. 2022."""

    title = "biases only (BitFit)"

    def prepare(self, model: nn.Module, data: TrainingData) -> None:
        train_only(model, lambda name, parameter: name.endswith("bias"))


@dataclass
class ProbeThenFineTune(FineTune):
    """The head trains first, on frozen features, then everything. Source: Kumar et al. 2022 (LP-FT).

    probe : the fraction of the epochs for the head alone, rounded up to whole epochs: a run of one epoch trains the
    head alone.
    """

    title = "linear probe, then everything (LP-FT)"
    choices = ("probe", (0.2, 0.4, 0.6))
    probe: float = fraction(0.4)

    def before_epoch(self, model: nn.Module, done: float) -> None:
        if done < self.probe - 1e-9:  # 0.1 + 0.2 is not quite 0.3
            train_head(model)
        else:
            model.requires_grad_(True)
            model.train()
