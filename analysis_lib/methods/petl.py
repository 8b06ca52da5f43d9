"""Parameter-efficient techniques as fine-tuning methods: the inserted modules and the head train."""

from dataclasses import dataclass

import torch
from torch import nn

from ..models.petl.inserted import folded_state, inserted_parameters
from ..models.petl.technique import Technique
from ..training.method import TrainingData
from .finetune import FineTune
from .frozen import train_only


class PETL(FineTune):
    """Cross-entropy over all classes; what a technique inserts and names trains, with the head."""

    def prepare(self, model: nn.Module, data: TrainingData) -> None:
        """Insert the modules, with weights drawn from a stream of the run, and freeze all other weights."""
        own = list(self.trained(model))
        self.insert(model, data.generator("inserted"))
        chosen = [*own, *inserted_parameters(model), *model.get_classifier().parameters()]
        ids = {id(parameter) for parameter in chosen}
        train_only(model, lambda name, parameter: id(parameter) in ids)

    def plain_state(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Its own weights with the inserted modules folded in."""
        return folded_state(model)


def method_for(technique: type[Technique]) -> type[PETL]:
    """The method that trains by a technique; its options are the technique's."""
    return dataclass(type(technique.__name__, (technique, PETL), {"__doc__": technique.__doc__}))
