"""One batch over several processes: each computes the loss of its share, and torch's DDP averages the gradients."""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..core.errors import UserError
from ..core.processes import share
from .method import Method


class _Loss(nn.Module):
    """A method's loss as a module, whose parameters are the model's: DDP wraps the forward pass of a module."""

    def __init__(self, model: nn.Module, method: Method):
        super().__init__()
        self.model, self.method = model, method

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.method.loss(self.model, x, labels)


def loss_function(
    model: nn.Module, method: Method, trained: bool
) -> Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """From images and labels to the loss and the logits, as `Method.loss`; gradients are averaged over processes.

    trained : whether there are gradients. Make it anew when other weights train.
    """
    loss = _Loss(model, method)
    if not trained or share().world == 1:
        return loss
    # BatchNorm's statistics are equal already; a static graph may leave weights unused
    return DistributedDataParallel(loss, forward_sync_buffers=False, static_graph=True)


def check_batches(batches: Sequence[torch.Tensor], name: str) -> None:
    """Raise UserError for a batch of the run `name` that has fewer images than there are processes."""
    smallest, world = min(map(len, batches)), share().world
    if smallest < world:
        raise UserError(
            f"run {name} cannot share a batch of {smallest} among {world} processes; start no more than {smallest}, or "
            "give larger batches"
        )
