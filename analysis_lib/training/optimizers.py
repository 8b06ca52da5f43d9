"""Optimisers by name: timm's."""

from collections.abc import Iterable

import torch
from torch import nn

from ..core.errors import unknown
from ..core.run_spec import RunSpec


def create_optimizer(parameters: Iterable[nn.Parameter], spec: RunSpec) -> torch.optim.Optimizer:
    """The optimiser that a run names, over parameters that may already be in groups.

    `sgd` takes Nesterov's momentum, and is plain where the momentum is 0. Raises UserError for a name that timm does
    not have.
    """
    from timm.optim import create_optimizer_v2, list_optimizers  # heavy, and only needed here

    if spec.optimizer not in list_optimizers():
        raise unknown("optimizer", spec.optimizer, list_optimizers())
    name = "momentum" if spec.optimizer == "sgd" and not spec.momentum else spec.optimizer
    return create_optimizer_v2(
        list(parameters), opt=name, lr=spec.lr, weight_decay=spec.weight_decay, momentum=spec.momentum
    )
