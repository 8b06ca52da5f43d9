"""The network before fine-tuning, kept beside the one in training as a reference for its weights and features."""

import copy
from collections.abc import Callable

import torch
from torch import nn

from .batchnorm import batch_statistics, batchnorms


class Reference:
    """A frozen copy of a network. Nothing is recorded for gradients.

    BatchNorm normalises by the batch, as it does in the network in training, so that at the first step both give the
    same features; everything else, such as dropout, is in eval mode.
    """

    def __init__(self, model: nn.Module):
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        for layer in batchnorms(self.model):
            layer.num_batches_tracked = None  # else it counts the batches

    @torch.no_grad()
    def __call__(self, measure: Callable[[nn.Module, torch.Tensor], object], x: torch.Tensor):
        """`measure(model, x)` of the frozen network, such as its features of a batch."""
        with batch_statistics(self.model):
            return measure(self.model, x)
