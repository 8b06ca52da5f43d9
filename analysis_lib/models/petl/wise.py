"""WiSE for a network with inserted modules: its own weights are interpolated, and what is inserted is scaled."""

import copy

import torch
from torch import nn

from ...core.errors import UserError
from ..weight_space import interpolate
from .inserted import places, plain_state


def interpolated(before: dict[str, torch.Tensor], model: nn.Module, alpha: float) -> nn.Module:
    """A copy of a trained network between the pre-trained one, at alpha = 0, and itself, at alpha = 1.

    Its own weights, the head's among them, are (1 - alpha) * before + alpha * trained, and the change that an inserted
    module makes is multiplied by alpha. At 0 and at 1 the logits are exactly those of the two networks.

    before : the state dict of the pre-trained network, without inserted modules. Raises UserError for modules that
    cannot be scaled, such as prompts, and as `interpolate`, so for a head of another size. Source: Wortsman et al.
    2022; the factor, the PETL study of 2024 (arXiv 2409.16434).
    """
    for name, place in places(model).items():
        if not place.inserted.interpolable:
            raise UserError(
                f"no network lies between the pre-trained one and one with {type(place.inserted).__name__} (inserted "
                f"at {name}); choose a technique that changes weights or outputs"
            )
    between = interpolate(before, plain_state(model), alpha)
    network = copy.deepcopy(model)
    network.load_state_dict(network.state_dict() | between)
    for place in places(network).values():
        place.inserted.merge = alpha
    return network
