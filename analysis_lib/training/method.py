"""What a fine-tuning method can do: four hooks of the one training loop."""

import torch
from torch import nn


class Method:
    """The hooks, which by default do nothing. A method is a frozen dataclass whose fields are its options.

    Hooks change the model in place. An interrupted run calls `prepare` again on the starting network before its resume file
    is loaded, so what `prepare` does must depend on nothing else.
    """

    title: str

    def prepare(self, model: nn.Module) -> None:
        """Once, before the optimiser is made: freeze weights, add modules, keep a copy of the starting network."""

    def loss(self, model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of a batch, a scalar that is minimised, and its logits (N, C). x : (N, 3, H, W); labels : (N,) int64."""
        raise NotImplementedError

    def after_step(self, model: nn.Module) -> None:
        """After every step of the optimiser: average weights, project them."""

    def finish(self, model: nn.Module) -> None:
        """After the last epoch, before its Outputs are stored: take averaged weights, re-estimate BatchNorm."""
