"""Users' images: opened and checked before any is decoded, then measured."""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import timm.data
import torch
from PIL import Image
from torch import nn

from ..analysis.gamma.estimators.pseudo_cv import Fold
from ..benchmarks.user_images import ImageBatches, is_manifest, open_source, open_unlabelled
from ..core.class_split import ClassSplit
from ..core.errors import UserError
from ..models.adapter import Adapter
from ..models.user_network import UserNetwork
from .classes import check_held_out, check_test, occurring, read_names, read_seen, split_of, understood
from .collect import collect_logits, collect_unlabelled, refuse_absent


@dataclass(frozen=True)
class Measured:
    """The results of the forward passes; None for data or models that were not given.

    logits (N, C), labels (N,) : of the fine-tuning data.
    pretrained_logits (N, C) : of the pre-trained model on the same samples.
    test_logits, test_labels, test_pretrained_logits : the same for the test data.
    held_out_logits, held_out_labels, held_out_pretrained_logits : the same for held-out samples of seen classes.
    unlabelled_logits (N', C) : of unlabelled images.
    folds : trained without a third of the seen classes each.
    probe : two images.
    model : the fine-tuned model that gave the logits.
    """

    logits: torch.Tensor
    labels: torch.Tensor
    pretrained_logits: torch.Tensor | None = None
    test_logits: torch.Tensor | None = None
    test_labels: torch.Tensor | None = None
    test_pretrained_logits: torch.Tensor | None = None
    held_out_logits: torch.Tensor | None = None
    held_out_labels: torch.Tensor | None = None
    held_out_pretrained_logits: torch.Tensor | None = None
    unlabelled_logits: torch.Tensor | None = None
    folds: list[Fold] | None = None
    probe: torch.Tensor | None = None
    model: nn.Module | None = None


@dataclass(frozen=True)
class LabelledFiles:
    """Image files and their labels (N,) int64."""

    files: list[Path]
    labels: torch.Tensor

    def where(self, mask: torch.Tensor) -> "LabelledFiles":
        """The rows of a bool mask."""
        return LabelledFiles([self.files[row] for row in mask.nonzero().flatten()], self.labels[mask])


@dataclass(frozen=True)
class Images:
    """The image files that a verb was given; None, or an empty list, for those that it was not.

    own : the fine-tuning data.
    looks : size, scaling and interpolation, as timm's transforms take them.
    """

    split: ClassSplit
    names: list[str]
    own: LabelledFiles
    test: LabelledFiles | None
    held_out: LabelledFiles | None
    unlabelled: list[Path]
    looks: dict
    batch_size: int

    @property
    def transform(self) -> Callable[[Image.Image], torch.Tensor]:
        """From a decoded image to what the model sees."""
        return timm.data.create_transform(is_training=False, **self.looks)

    def about(self, arguments: argparse.Namespace, network: UserNetwork, device: torch.device) -> dict:
        """What the report says about the model and the images."""
        looks = {name: list(value) if isinstance(value, tuple) else value for name, value in self.looks.items()}
        return {
            "model": network.arch,
            "checkpoint": str(arguments.checkpoint),
            "device": device.type,
            "data": str(arguments.data),
            "samples": len(self.own.labels),
            "images": looks,
        }

    def measure(self, model: nn.Module, pretrained: nn.Module | None = None) -> Measured:
        """Decode all images once, for one or both models. Raises UserError for images that cannot be read."""
        models = [model] if pretrained is None else [model, pretrained]
        transform, found = self.transform, {"model": model}
        for part, prefix in ((self.own, ""), (self.test, "test_"), (self.held_out, "held_out_")):
            if part is None:
                continue
            batches = ImageBatches(part.files, part.labels, transform, self.batch_size)
            logits, labels, probe = collect_logits(models, batches, None if part is self.test else self.split.seen)
            found |= {f"{prefix}logits": logits[0], f"{prefix}labels": labels}
            if pretrained is not None:
                found[f"{prefix}pretrained_logits"] = logits[1]
            if part is self.own:
                found["probe"] = probe
        if self.unlabelled:
            labels = torch.zeros(len(self.unlabelled))
            batches = ImageBatches(self.unlabelled, labels, transform, self.batch_size)
            found["unlabelled_logits"] = collect_unlabelled(model, batches)
        return Measured(**found)


def open_images(arguments: argparse.Namespace, network: UserNetwork, held_out: Path | None = None) -> Images:
    """The images of --data, --test, --unlabelled and of `held_out`, for a network. Decodes none.

    Without --seen, the seen classes are those that a manifest lists, else those of --data. Raises UserError for
    sources, names, labels and classes that do not fit together.
    """
    num_classes = network.model.num_classes
    sources = [open_source(arguments.data, "train")]
    if arguments.test:
        sources.append(open_source(arguments.test, "test"))
    if held_out:
        sources.append(open_source(held_out, "test"))
    unlabelled = open_unlabelled(arguments.unlabelled) if arguments.unlabelled else []
    names = read_names(arguments.classes, sources, num_classes, network)
    sources = [understood(source, names, network) for source in sources]
    data = [LabelledFiles(source.files, source.labels(names, num_classes)) for source in sources]
    own, test = data[0], data[1] if arguments.test else None
    held = data[-1] if held_out else None
    if arguments.seen is not None:
        split = read_seen(arguments.seen, names, num_classes, network)
    elif sources[0].seen:
        split = split_of(sources[0].seen, names, num_classes, network, sources[0].where)
    else:
        split = occurring(sources[0], own.labels, num_classes)
    if is_manifest(arguments.data):  # it lists the absent classes' training images too
        own = own.where(split.is_seen(own.labels))
    refuse_absent(own.labels, split)
    if test:
        check_test(test.labels, split, arguments.test)
    if held:
        if is_manifest(held_out):  # its test part has absent classes too
            held = held.where(split.is_seen(held.labels))
        check_held_out(held.labels, split, held_out)
    looks = looks_of(arguments, network.model)
    return Images(split, names, own, test, held, unlabelled, looks, arguments.batch_size)


def check_numbers(arguments: argparse.Namespace) -> None:
    """Raise UserError for a size, a crop or a scaling that no image can have."""
    for name in ("image_size", "batch_size"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} is {value}; give a positive number")
    if arguments.mean and not all(map(math.isfinite, arguments.mean)):
        raise UserError(f"--mean is {arguments.mean}; give three numbers")
    if arguments.std and not all(0 < value < math.inf for value in arguments.std):
        raise UserError(f"--std is {arguments.std}; give three positive numbers")
    if arguments.crop_pct is not None and not 0 < arguments.crop_pct <= 1:
        raise UserError(f"--crop-pct is {arguments.crop_pct}; give a share in (0, 1]")


def looks_of(arguments: argparse.Namespace, model: nn.Module) -> dict:
    """Size, scaling and interpolation of images: those of the library's validation unless the arguments differ."""
    stated = model.pretrained_cfg
    size = arguments.image_size
    return {
        "input_size": (3, size, size) if size else tuple(stated["input_size"]),
        "mean": tuple(arguments.mean or stated["mean"]),
        "std": tuple(arguments.std or stated["std"]),
        "crop_pct": arguments.crop_pct or stated["crop_pct"],
        "interpolation": stated["interpolation"],
    } | ({"crop_mode": stated["crop_mode"]} if isinstance(model, Adapter) and "crop_mode" in stated else {})
