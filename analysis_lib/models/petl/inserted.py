"""Modules that are inserted into a network: each changes what flows into or out of one of the network's own modules.

The network's own weights keep their names, so a plain checkpoint still loads into it, and the weights of the inserted
modules stand beside them. Where the change can be written into the weights of that module, it can be folded away.
"""

import torch
from torch import nn

from ...core.errors import UserError
from ...core.seeds import on_grid

NAME = "inserted"  # of the submodule


class Inserted(nn.Module):
    """A module whose `enter` changes the input of the module that it is attached to, and `leave` the output.

    merge : the change is multiplied by it. At 1 it is as trained; at 0 the network is the one before insertion.
    """

    merge = 1.0
    interpolable = True  # whether `merge` has any effect

    def enter(self, x: torch.Tensor) -> torch.Tensor:
        """The new input for the input x."""
        return x

    def leave(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The new output for the input x, as `enter` made it, and the output y."""
        return y

    def start(self, generator: torch.Generator) -> None:
        """Set the weights at which training starts."""

    def folded(self, place: nn.Module) -> dict[str, torch.Tensor]:
        """The weight and the bias of `place` with which it does alone what it does with this module in eval mode.

        Raises UserError for a module that cannot be folded.
        """
        raise UserError(f"{type(self).__name__} cannot be folded into the weights of a plain network; keep it inserted")


def attach(place: nn.Module, module: Inserted, generator: torch.Generator) -> None:
    """Insert a module at a place of the network, in its float type and mode, with weights drawn from the generator."""
    add(place, module, generator)
    place.register_forward_pre_hook(_enter)
    place.register_forward_hook(_leave)


def add(place: nn.Module, module: nn.Module, generator: torch.Generator) -> None:
    """Make a module part of the network without a change of what flows; its weights are drawn as by `attach`.

    The draws are made in float64 on a grid, so they are the same numbers on every processor.
    """
    module.double().start(generator)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(on_grid(parameter))
    module.to(next(place.parameters(), torch.empty(0))).train(place.training)
    place.add_module(NAME, module)


def _enter(place: nn.Module, inputs: tuple) -> tuple:
    return (place.inserted.enter(inputs[0]), *inputs[1:])


def _leave(place: nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
    return place.inserted.leave(inputs[0], output)


def is_inserted(name: str) -> bool:
    """Whether a parameter or buffer of that name belongs to an inserted module."""
    return NAME in name.split(".")


def places(model: nn.Module) -> dict[str, nn.Module]:
    """The modules of a network that have an inserted one, by name."""
    return {name: place for name, place in model.named_modules() if isinstance(getattr(place, NAME, None), Inserted)}


def inserted_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The weights of all inserted modules."""
    return [parameter for name, parameter in model.named_parameters() if is_inserted(name)]


def plain_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The network's own state dict, without the inserted modules."""
    return {name: tensor for name, tensor in model.state_dict().items() if not is_inserted(name)}


@torch.no_grad()
def folded_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict of the plain network that gives the same logits in eval mode.

    Raises UserError where an inserted module cannot be folded, and where the plain network lacks a bias for it.
    """
    state = plain_state(model)
    for name, place in places(model).items():
        for key, tensor in place.inserted.folded(place).items():
            if f"{name}.{key}" not in state:
                raise UserError(f"cannot fold into {name}: it has no {key}; choose another method")
            state[f"{name}.{key}"] = tensor
    return state
