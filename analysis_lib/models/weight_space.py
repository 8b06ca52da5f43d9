"""Two sets of weights: interpolation between them, and their distance."""

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


def parameter_distance(before: nn.Module, after: nn.Module) -> float:
    """The length of the change of all weights but the head's, relative to their length before: 0 for equal networks.

    Both networks have the same architecture up to their heads. BatchNorm's statistics are no weights. Source: Mukhoti
    et al. 2024, who take the length of the change alone.
    """
    head = {id(parameter) for model in (before, after) for parameter in model.get_classifier().parameters()}
    starts, ends = ([p.detach().double() for p in m.parameters() if id(p) not in head] for m in (before, after))
    change = sum((end - start).square().sum() for start, end in zip(starts, ends, strict=True))
    return (change / sum(start.square().sum() for start in starts)).sqrt().item()
