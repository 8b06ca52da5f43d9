"""BatchNorm whose batch is that of all processes together, as if one process had computed it.

torch's SyncBatchNorm takes GPU tensors only.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..core.processes import share, total


class _Total(torch.autograd.Function):
    """The sum over all processes, through which gradients flow back to the parts of every process."""

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        return total(x)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        return total(gradient)


class _GlobalStatistics:
    """Goes before a BatchNorm's class: in train mode the mean and variance are those of all processes' inputs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        y = self._normalised(values).to(x.dtype)
        return self.act(self.drop(y)) if hasattr(self, "act") else y  # timm's BatchNorm ends in an activation

    def _normalised(self, x: torch.Tensor) -> torch.Tensor:
        others = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        count = x.new_tensor([x.numel() / x.shape[1]], dtype=torch.float64)
        *sums, n = _Total.apply(torch.cat([x.sum(others).double(), count])).split([x.shape[1], 1])
        mean = (sums[0] / n).to(x.dtype)
        centred = x - mean.view(shape)
        variance = _Total.apply(centred.square().sum(others)) / n.to(x.dtype)
        self._keep(mean.detach(), variance.detach(), n)
        scale = (variance + self.eps).rsqrt()
        if self.weight is None:
            return centred * scale.view(shape)
        return centred * (self.weight * scale).view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def _keep(self, mean: torch.Tensor, variance: torch.Tensor, n: torch.Tensor) -> None:
        """Move the running mean and the running variance, the unbiased one."""
        if self.running_mean is None:
            return
        momentum = self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            momentum = 1 / self.num_batches_tracked if momentum is None else momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * (n / (n - 1)).to(variance.dtype), momentum)


@contextlib.contextmanager
def global_batchnorm(model: nn.Module) -> Iterator[None]:
    """Inside the block every BatchNorm of a model in train mode normalises by the batch of all processes.

    Every process must then run the model on its part of each batch. Weights, statistics and the names of both stay
    where they are; copies of the model that are made inside the block behave the same. Does nothing in one process.
    """
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm)] if share().world > 1 else []
    kinds = [type(layer) for layer in layers]
    for layer, kind in zip(layers, kinds):
        layer.__class__ = type(f"Global{kind.__name__}", (_GlobalStatistics, kind), {})
    try:
        yield
    finally:
        for layer, kind in zip(layers, kinds):
            layer.__class__ = kind
