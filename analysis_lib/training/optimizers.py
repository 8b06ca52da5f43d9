"""Optimisers by name."""

import torch

OPTIMIZERS = {
    "sgd": lambda parameters, spec: torch.optim.SGD(
        parameters, spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay, nesterov=spec.momentum > 0),
    "adamw": lambda parameters, spec: torch.optim.AdamW(parameters, spec.lr, weight_decay=spec.weight_decay),
}
