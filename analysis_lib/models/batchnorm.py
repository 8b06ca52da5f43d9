"""BatchNorm layers: found, kept on the statistics of a batch, and given the pooled statistics of a data set."""

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..core.processes import total


def batchnorms(model: nn.Module) -> list[_BatchNorm]:
    """The BatchNorm layers that keep running statistics, in the model's order."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


@torch.no_grad()
def reestimate(model: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Replace every BatchNorm's running mean and variance by those of the batches, pooled exactly, in place.

    batches : images (B, 3, H, W) as the model takes them. Each batch is normalised by its own statistics on its way
    through the network, as in training; everything else is in eval mode. The variance is the unbiased one over all
    samples and positions: within batches and between them. A model without BatchNorm stays as it is, and so does a
    layer that gets no input. Processes that train together each bring their share of every batch. Source: the law of
    total variance.
    """
    layers = batchnorms(model)
    if not layers:
        return
    counts = dict.fromkeys(layers, 0)
    sums = {layer: torch.zeros_like(layer.running_mean, dtype=torch.float64) for layer in layers}
    squares = {layer: torch.zeros_like(layer.running_mean, dtype=torch.float64) for layer in layers}

    def add(layer: _BatchNorm, inputs: tuple[torch.Tensor]) -> None:
        flat = inputs[0].transpose(0, 1).flatten(1).double()
        counts[layer] += flat.shape[1]
        sums[layer] += flat.sum(1)
        squares[layer] += flat.square().sum(1)

    modes = {module: module.training for module in model.modules()}
    hooks = [layer.register_forward_pre_hook(add) for layer in layers]
    try:
        with batch_statistics(model.eval()):
            for x in batches:
                model(x)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    for layer in layers:
        n = int(total(torch.tensor(counts[layer])))
        if not n:  # a layer that the network does not use
            continue
        mean = total(sums[layer]) / n
        layer.running_mean.copy_(mean)
        layer.running_var.copy_((total(squares[layer]) - n * mean.square()).clamp_min(0) / max(1, n - 1))


@contextlib.contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Inside the block BatchNorm normalises by the batch and keeps its running mean and variance."""
    before = {layer: (layer.training, layer.momentum) for layer in batchnorms(model)}
    for layer in before:
        layer.training, layer.momentum = True, 0.0
    try:
        yield
    finally:
        for layer, (training, momentum) in before.items():
            layer.training, layer.momentum = training, momentum
