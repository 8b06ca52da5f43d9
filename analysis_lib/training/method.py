"""Method, the base class of fine-tuning methods: four hooks of the one training loop."""

import torch
from torch import nn


class Method:
    """A fine-tuning method: a frozen dataclass whose fields are its options. Only `loss` must be defined.

    Hooks change the model in place. An interrupted run calls `prepare` again on the starting network before its resume
    file is loaded, so `prepare` must depend on nothing but the starting network.
    """

    title: str

    def prepare(self, model: nn.Module) -> None:
        """Called once, before the optimiser is made: freeze weights, add modules, copy the starting network."""

    def loss(self, model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of a batch, a scalar, and its logits (N, C).

        x : (N, 3, H, W); labels : (N,) int64.
        """
        raise NotImplementedError

    def after_step(self, model: nn.Module) -> None:
        """Called after every step of the optimiser: average weights, project them."""

    def finish(self, model: nn.Module) -> None:
        """Called after the last epoch, before its Outputs are stored: use averaged weights, re-estimate BatchNorm."""
