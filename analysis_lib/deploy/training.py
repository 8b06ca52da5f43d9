"""Fine-tuning a user's model on a user's images by a recipe: what folds and the verb `finetune` share."""

import copy
import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from ..benchmarks.user_images import ImageBatches
from ..core.errors import UserError
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for
from ..methods import method_of
from ..models.batchnorm import batchnorms
from ..models.gamma_bias import placed
from ..training.loop import train, train_epoch
from ..training.method import Method, TrainingData
from ..training.optimizers import parameter_groups
from .fold_recipe import FoldRecipe


class ImageFiles:
    """Image files that are decoded when rows of them are asked for: `images[rows]` is (len(rows), 3, H, W) float."""

    def __init__(self, image_files: Sequence[Path], transform: Callable[[Image.Image], torch.Tensor]):
        self.image_files, self.transform = image_files, transform

    def __getitem__(self, rows: torch.Tensor) -> torch.Tensor:
        chosen = [self.image_files[row] for row in rows.tolist()]
        batches = ImageBatches(chosen, torch.zeros(len(chosen)), self.transform, len(chosen))
        return next(iter(batches))[0]


def fine_tuned(
    pretrained: nn.Module,
    images: torch.Tensor | ImageFiles,
    labels: torch.Tensor,
    rows: torch.Tensor,
    spec: RunSpec,
    recipe: FoldRecipe,
) -> nn.Module:
    """A copy of the pre-trained model, fine-tuned on some rows of images (N, ...) with labels (N,), in eval mode.

    What the method inserted is folded into the weights, so the copy has the model's own architecture.

    spec : made by the recipe. An interrupted training goes on from its last epoch. Raises UserError for a loss that is
    not finite, and where the device has not enough memory.
    """
    network, method = copy.deepcopy(pretrained).requires_grad_(True), method_of(spec)

    def augmented(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return recipe.augmented(placed(x, network), generator)

    with _own_noise(network):
        try:
            data = TrainingData(images, labels, rows, spec.batch_size, augmented, spec.run_id)
            train(network, method, data, spec, _no_outputs)
        except torch.OutOfMemoryError:
            raise UserError(
                f"the device has no memory to train on a batch of {spec.batch_size}; use a smaller batch size"
            ) from None
    return _plain(pretrained, method, network)


def check_method(pretrained: nn.Module, labels: torch.Tensor, input_size: tuple[int, ...], recipe: FoldRecipe) -> None:
    """Raise UserError if the recipe's method cannot train this model on images of input_size (3, H, W).

    labels : (N,) of the fine-tuning data. A copy of the model tries a batch of two random images; no weight moves.
    """
    network = copy.deepcopy(pretrained).requires_grad_(True)
    arch = type(pretrained).__name__
    rows = torch.arange(min(2, len(labels), recipe.batch_size))
    images = torch.randn(len(rows), *input_size, generator=generator_for("trial"))
    spec = recipe.spec(benchmark="trial", stage="trial", model=arch, init="", data="", seed=0)
    method = method_of(spec)
    with _own_noise(network):
        try:
            data = TrainingData(images, labels, rows, len(rows), lambda x, _: placed(x, network), spec.run_id)
            method.prepare(network, data)
            trained = parameter_groups(network, spec)
            train_epoch(network, method, None, data, spec, 1)
            _plain(pretrained, method, network)
        except UserError:
            raise
        # whatever a method may stumble over in an architecture that it was not written for
        except (AttributeError, AssertionError, KeyError, RuntimeError, StopIteration, TypeError, ValueError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(
                f"{recipe.method} cannot train {arch} on images of {input_size[1]}x{input_size[2]} pixels ({reason}); "
                "choose another method, model or image size"
            ) from None
    if not trained and not batchnorms(network):
        raise UserError(f"{recipe.method} finds nothing to train in {arch}; choose another method")


def _plain(pretrained: nn.Module, method: Method, network: nn.Module) -> nn.Module:
    """A copy of the pre-trained model with the weights that give the trained network's logits, in eval mode."""
    plain = copy.deepcopy(pretrained)
    plain.load_state_dict(method.plain_state(network))
    return plain.eval()


def _own_noise(network: nn.Module) -> AbstractContextManager:
    """Restore torch's random state after the block: the loop seeds it for dropout."""
    device = next(network.parameters()).device
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def _no_outputs(epoch: int, network: nn.Module) -> None:
    """Only the last epoch is measured, after the training."""


def draw_held_out(labels: torch.Tensor, share: float, name: str) -> torch.Tensor:
    """(N,) bool: a random share of the images of each class, at least one and never the only one.

    name : of the random stream.
    """
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        rows = (labels == label).nonzero().flatten()
        order = torch.randperm(len(rows), generator=generator_for("held out", name, label))
        wanted = int(share * len(rows) + 1e-9)  # a fifth of 5 images is 1
        held_out[rows[order[: min(max(1, wanted), len(rows) - 1)]]] = True
    return held_out


def digest_weights(model: nn.Module) -> str:
    """A name that stands for the model's layers and weights."""
    return _digest([str(model).encode(), *map(_bytes, model.state_dict().values())])


def digest_data(
    images: torch.Tensor | ImageFiles, labels: torch.Tensor, rows: torch.Tensor, model: nn.Module, recipe: FoldRecipe
) -> str:
    """A name that stands for some rows of images and labels, the recipe's augmentation, and the model's device."""
    look = repr((recipe.crop_scale, recipe.flip, next(model.parameters()).device.type)).encode()
    pixels = (_bytes(images[batch]) for batch in rows.split(recipe.batch_size))
    return _digest(itertools.chain([look, _bytes(labels[rows])], pixels))


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
