"""Create a classifier by name."""

import torch
from torch import nn

from ..core.errors import UserError, unknown
from ..core.seeds import on_grid
from . import torchvision_model, transformers_model
from .digits_cnn import DigitsCNN
from .glyphs_networks import glyphs_resnet, glyphs_vit

OWN = {"digits_cnn": DigitsCNN, "glyphs_resnet": glyphs_resnet, "glyphs_vit": glyphs_vit}


def create_model(name: str, num_classes: int) -> nn.Module:
    """A network of `OWN` or any timm classifier with a linear head, randomly initialised.

    Also `torchvision/resnet18` and so on, and `transformers/...` as imported from a folder. Raises UserError for an
    unknown name and for a head that is not one linear layer.
    """
    import timm  # heavy, and only needed here

    if name in OWN:
        return OWN[name](num_classes)
    for library in (torchvision_model, transformers_model):
        if name.startswith(library.PREFIX):
            return library.create(name, num_classes)
    if not timm.is_model(name):
        raise unknown("model", name, [*OWN, *timm.list_models()])
    model = timm.create_model(name, num_classes=num_classes)
    if not isinstance(model.get_classifier(), nn.Linear):
        raise UserError(
            f"model {name!r} has no single linear head ({type(model.get_classifier()).__name__}); choose one whose "
            "get_classifier() is a Linear layer"
        )
    return model


def create_random_model(name: str, num_classes: int, seed: int) -> nn.Module:
    """`create_model` in float64, with weights that depend on the seed but not on the processor. Raises as there."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(seed)
        model = create_model(name, num_classes)
    finally:
        torch.set_default_dtype(default)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(on_grid(parameter))
    return model
