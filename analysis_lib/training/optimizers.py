"""Optimisers by name, timm's, and the groups of parameters that differ in their learning rate."""

from collections.abc import Iterable

import torch
from torch import nn

from ..core.errors import unknown
from ..core.run_spec import RunSpec


def parameter_groups(model: nn.Module, spec: RunSpec) -> list[nn.Parameter] | list[dict]:
    """The trained parameters of a model. If `spec.backbone_lr_scale` is not 1, in two groups: backbone, then head.

    The backbone's group has timm's key `lr_scale`, by which the training loop multiplies the learning rate.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if spec.backbone_lr_scale == 1:
        return trained  # one group, in the model's order: resume files number the parameters
    head = {id(p) for p in model.get_classifier().parameters()}
    groups = [
        {"params": [p for p in trained if id(p) not in head], "lr_scale": spec.backbone_lr_scale},
        {"params": [p for p in trained if id(p) in head]},
    ]
    return [group for group in groups if group["params"]]


def check_optimizer(name: str) -> None:
    """Raise UserError for an optimiser that timm does not have."""
    from timm.optim import list_optimizers  # heavy, and only needed here

    if name not in list_optimizers():
        raise unknown("optimizer", name, list_optimizers())


def create_optimizer(parameters: Iterable[nn.Parameter] | Iterable[dict], spec: RunSpec) -> torch.optim.Optimizer:
    """The optimiser that a run names, over parameters or groups of them.

    `sgd` takes Nesterov's momentum, and is plain where the momentum is 0. Raises UserError for a name that timm does
    not have.
    """
    from timm.optim import create_optimizer_v2  # heavy, and only needed here

    check_optimizer(spec.optimizer)
    name = "momentum" if spec.optimizer == "sgd" and not spec.momentum else spec.optimizer
    return create_optimizer_v2(
        list(parameters), opt=name, lr=spec.lr, weight_decay=spec.weight_decay, momentum=spec.momentum
    )
