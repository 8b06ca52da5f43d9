"""Interpolation between two sets of weights, and the distance between them."""

import torch
from torch import nn

from ..core.errors import UserError


def interpolate(
    before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], alpha: float = 0.5
) -> dict[str, torch.Tensor]:
    """The state dict (1 - alpha) * before + alpha * after, in the types and on the devices of `after`.

    Integer buffers, such as BatchNorm's count of batches, are those of `after`. Scoring it needs forward passes, so it
    is not in `BASELINES`. Raises UserError for alpha outside 0..1 and for keys or shapes that
    differ. Source: Wortsman et al. 2022 (WiSE-FT), who take 0.5 if there is no data to choose by.
    """
    if not 0 <= alpha <= 1:
        raise UserError(f"alpha is {alpha}; give a number in 0..1, from the pre-trained to the fine-tuned model")
    unpaired = before.keys() ^ after.keys()
    unequal = {key for key in before.keys() & after.keys() if before[key].shape != after[key].shape}
    differing = sorted(unpaired | unequal)
    if differing:
        raise UserError(
            f"the state dicts differ in {len(differing)} keys, first {differing[0]!r}; give two checkpoints of one "
            "architecture"
        )
    return {
        key: torch.lerp(before[key].to(value), value, alpha) if value.is_floating_point() else value
        for key, value in after.items()
    }


def backbone_distance(before: nn.Module, after: nn.Module) -> float:
    """The Euclidean distance of all weights but the head's, relative to their length before.

    before, after : two networks of one architecture. BatchNorm's running statistics are no weights. Source: ours.
    """
    head = {id(parameter) for parameter in before.get_classifier().parameters()}
    moved = total = 0.0
    for start, end in zip(before.parameters(), after.parameters()):
        if id(start) not in head:
            moved += (end.detach().double() - start.detach().double()).square().sum().item()
            total += start.detach().double().square().sum().item()
    return (moved / total) ** 0.5
