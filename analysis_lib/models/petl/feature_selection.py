"""Which features a linear head takes: chosen by the lengths of its columns, and kept as a part of the network."""

from collections.abc import Mapping

import torch
from torch import nn


def make_selectable(head: nn.Linear) -> None:
    """Give a head (C, D) the buffer `kept` (D,), bool, all true: features that are not kept reach it as zeros."""
    head.register_buffer("kept", torch.ones(head.in_features, dtype=torch.bool, device=head.weight.device))
    head.register_forward_pre_hook(_only_kept)


def _only_kept(head: nn.Linear, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    return (inputs[0] * head.kept,)


def column_norms(head: nn.Linear) -> torch.Tensor:
    """The lengths (D,) of the columns of a head's weights (C, D): how much the logits take from each feature."""
    return torch.linalg.vector_norm(head.weight, dim=0)


@torch.no_grad()
def keep_strongest(head: nn.Linear, fraction: float, start: Mapping[str, torch.Tensor]) -> None:
    """Keep the features with the longest columns, `round(fraction * D)` of them but at least one, and start again.

    start : the weight and the bias with which the head starts again; columns of other features are 0. Of equally long
    columns the first is kept.
    """
    number = max(1, round(fraction * head.in_features))
    strongest = column_norms(head).argsort(descending=True, stable=True)[:number]
    head.kept.zero_()
    head.kept[strongest] = True
    head.weight.copy_(start["weight"] * head.kept)
    head.bias.copy_(start["bias"])
