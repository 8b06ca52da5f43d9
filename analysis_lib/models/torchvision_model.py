"""torchvision's classifiers by name, `torchvision/resnet18`, with timm's interface."""

import torch
from torch import nn

from ..core.errors import UserError, unknown
from .adapter import Adapter, last_linear

PREFIX = "torchvision/"
HEADLESS = ("googlenet", "inception_v3", "squeezenet1_0", "squeezenet1_1")  # auxiliary heads, or a convolution as head


def names() -> list[str]:
    """torchvision's classifiers with one linear head, with the prefix."""
    import torchvision  # heavy, and only needed here

    return [PREFIX + name for name in torchvision.models.list_models(torchvision.models) if name not in HEADLESS]


def bare(name: str, num_classes: int) -> nn.Module:
    """torchvision's own module, randomly initialised. Raises UserError for an unknown name."""
    if name.removeprefix(PREFIX) in HEADLESS:
        raise UserError(f"model {name!r} has no single linear head; choose another of torchvision's")
    if name not in names():
        raise unknown("torchvision architecture", name, names())
    import torchvision

    torch.backends.mha.set_fastpath_enabled(False)  # the fused attention of its transformers has no forward derivative
    return torchvision.models.get_model(name.removeprefix(PREFIX), weights=None, num_classes=num_classes)


def create(name: str, num_classes: int) -> Adapter:
    """The classifier with timm's interface, randomly initialised. Raises UserError for an unknown name."""
    network = bare(name, num_classes)
    output_fmt = "NHWC" if "swin" in name else "NCHW"
    return Adapter(network, last_linear(network), _looks(name), output_fmt)


def _looks(name: str) -> dict:
    """Size and scaling of torchvision's own validation of its first weights of that name."""
    import torchvision

    preset = next(iter(torchvision.models.get_model_weights(name.removeprefix(PREFIX)))).transforms()
    return {
        "input_size": (3, preset.crop_size[0], preset.crop_size[0]),
        "mean": tuple(preset.mean),
        "std": tuple(preset.std),
        "crop_pct": preset.crop_size[0] / preset.resize_size[0],
        "interpolation": preset.interpolation.value,
    }
