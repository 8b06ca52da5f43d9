"""The inputs of the verb `calibrate`, checked before anything is computed: a model with images, or stored logits."""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import timm.data
import torch
from torch import nn

from ..analysis.gamma.estimators.pseudo_cv import Fold
from ..benchmarks.user_images import (
    ImageBatches,
    Source,
    class_id,
    class_names,
    is_manifest,
    open_source,
    open_unlabelled,
)
from ..core import external_files, paths
from ..core.class_split import ClassSplit
from ..core.device import pick_device
from ..core.errors import UserError
from ..models import user_weights
from .calibrate import collect_logits, collect_unlabelled, refuse_absent
from .fold_recipe import FoldRecipe
from .folds import ImageFiles, check_classes, train_folds


@dataclass(frozen=True)
class Measured:
    """The results of the forward passes; None for data or models that were not given.

    logits (N, C), labels (N,) : of the fine-tuning data.
    pretrained_logits (N, C) : of the pre-trained model on the same samples.
    test_logits, test_labels, test_pretrained_logits : the same for the test data.
    unlabelled_logits (N', C), held_out_logits (N'', C) : of unlabelled images, and of held-out images of seen classes.
    folds : trained without a third of the seen classes each.
    probe : two images.
    """

    logits: torch.Tensor
    labels: torch.Tensor
    pretrained_logits: torch.Tensor | None = None
    test_logits: torch.Tensor | None = None
    test_labels: torch.Tensor | None = None
    test_pretrained_logits: torch.Tensor | None = None
    unlabelled_logits: torch.Tensor | None = None
    held_out_logits: torch.Tensor | None = None
    folds: list[Fold] | None = None
    probe: torch.Tensor | None = None


@dataclass(frozen=True)
class Inputs:
    """The checked inputs, before any forward pass.

    names : of the classes, or empty.
    model : None for stored logits.
    about : what the report says about the inputs.
    measure : runs the forward passes, and trains the folds.
    """

    split: ClassSplit
    names: list[str]
    model: nn.Module | None
    about: dict
    measure: Callable[[], Measured]


def is_logits(path: Path) -> bool:
    """Whether a source is a file of stored logits, by its name."""
    return path.suffix.lower() in external_files.ARRAYS and not path.is_dir()


def from_logits(arguments: argparse.Namespace) -> Inputs:
    """Stored logits, with the pre-trained model's on the same samples and test logits if given. Raises UserError."""
    logits, labels = external_files.read_logits(arguments.data)
    names = _names(arguments, [], logits.shape[1])
    split = _split(arguments, names, logits.shape[1])
    refuse_absent(labels, split)
    pretrained = test = test_labels = unlabelled = held_out = None
    if arguments.pretrained:
        pretrained, its_labels = external_files.read_logits(arguments.pretrained)
        if pretrained.shape != logits.shape or not torch.equal(its_labels, labels):
            raise UserError(
                f"{paths.display(arguments.pretrained)} and {paths.display(arguments.data)} differ in shape or "
                "labels; give the logits of the same samples in the same order"
            )
    if arguments.test:
        test, test_labels = external_files.read_logits(arguments.test)
        _check_width(test, arguments.test, logits, arguments.data)
        _check_test(test_labels, split, arguments.test)
    if arguments.unlabelled:
        unlabelled = external_files.read_unlabelled_logits(arguments.unlabelled)
        _check_width(unlabelled, arguments.unlabelled, logits, arguments.data)
    if arguments.held_out:
        held_out, its_labels = external_files.read_logits(arguments.held_out)
        _check_width(held_out, arguments.held_out, logits, arguments.data)
        _check_held_out(its_labels, split, arguments.held_out)
    measured = Measured(
        logits, labels, pretrained, test, test_labels, unlabelled_logits=unlabelled, held_out_logits=held_out
    )
    about = {"data": str(arguments.data), "samples": len(labels)}
    return Inputs(split, names, None, about, lambda: measured)


@dataclass(frozen=True)
class _Data:
    """Image files and their labels (N,) int64."""

    files: list[Path]
    labels: torch.Tensor

    def where(self, mask: torch.Tensor) -> "_Data":
        """The rows of a bool mask."""
        return _Data([self.files[row] for row in mask.nonzero().flatten()], self.labels[mask])


def from_images(arguments: argparse.Namespace, recipe: FoldRecipe | None) -> Inputs:
    """A timm model, its checkpoint and labelled images. Decodes no image. Raises UserError.

    recipe : of the folds to train, or None.
    """
    _check_numbers(arguments)
    device = pick_device(arguments.device)
    model = _load(arguments, arguments.checkpoint, device)
    num_classes = model.num_classes
    sources = [open_source(arguments.data, "train")]
    if arguments.test:
        sources.append(open_source(arguments.test, "test"))
    if arguments.held_out:
        sources.append(open_source(arguments.held_out, "test"))
    unlabelled = open_unlabelled(arguments.unlabelled) if arguments.unlabelled else []
    names = _names(arguments, sources, num_classes)
    split = _split(arguments, names, num_classes)
    data = [_Data(source.files, source.labels(names, num_classes)) for source in sources]
    own, test = data[0], data[1] if arguments.test else None
    held_out = data[-1] if arguments.held_out else None
    if is_manifest(arguments.data):  # it lists the absent classes' training images too
        own = own.where(split.is_seen(own.labels))
    refuse_absent(own.labels, split)
    if recipe:
        check_classes(own.labels, split)
    if test:
        _check_test(test.labels, split, arguments.test)
    if held_out:
        if is_manifest(arguments.held_out):  # its test part has absent classes too
            held_out = held_out.where(split.is_seen(held_out.labels))
        _check_held_out(held_out.labels, split, arguments.held_out)
    models = [model]
    if arguments.pretrained:
        pretrained = _load(arguments, arguments.pretrained, device)
        models.append(pretrained)
        if pretrained.num_classes != num_classes:
            raise UserError(
                f"{paths.display(arguments.pretrained)} has {pretrained.num_classes} outputs and "
                f"{paths.display(arguments.checkpoint)} {num_classes}; give the pre-trained head the same classes in "
                "the same order"
            )
    looks = _looks(arguments, model)
    about = {
        "model": arguments.model,
        "checkpoint": str(arguments.checkpoint),
        "device": device.type,
        "data": str(arguments.data),
        "samples": len(own.labels),
        "images": {name: list(value) if isinstance(value, tuple) else value for name, value in looks.items()},
    }

    def measure() -> Measured:
        transform = timm.data.create_transform(is_training=False, **looks)
        batches = ImageBatches(own.files, own.labels, transform, arguments.batch_size)
        logits, labels, probe = collect_logits(models, batches, split.seen)
        found = {"logits": logits[0], "labels": labels, "probe": probe}
        if arguments.pretrained:
            found["pretrained_logits"] = logits[1]
        if recipe:
            found["folds"] = train_folds(pretrained, ImageFiles(own.files, transform), labels, split, logits[1], recipe)
        if test:
            batches = ImageBatches(test.files, test.labels, transform, arguments.batch_size)
            logits, labels, _ = collect_logits(models, batches, None)
            found |= {"test_logits": logits[0], "test_labels": labels}
            if arguments.pretrained:
                found["test_pretrained_logits"] = logits[1]
        if unlabelled:
            batches = ImageBatches(unlabelled, torch.zeros(len(unlabelled)), transform, arguments.batch_size)
            found["unlabelled_logits"] = collect_unlabelled(model, batches)
        if held_out:
            batches = ImageBatches(held_out.files, held_out.labels, transform, arguments.batch_size)
            found["held_out_logits"] = collect_logits([model], batches, split.seen)[0][0]
        return Measured(**found)

    return Inputs(split, names, model, about, measure)


def _load(arguments: argparse.Namespace, checkpoint: Path, device: torch.device) -> nn.Module:
    """The model of the arguments with the weights of a checkpoint. Raises UserError."""
    return user_weights.load_classifier(arguments.model, checkpoint, arguments.image_size).to(device)


def _names(arguments: argparse.Namespace, sources: list[Source], num_classes: int) -> list[str]:
    """The class names in head order, from --classes or else from the sources; empty if there are none."""
    if not arguments.classes:
        return class_names(sources, num_classes)
    names = external_files.read_lines(arguments.classes)
    if len(names) != num_classes or len(set(names)) < len(names):
        raise UserError(
            f"{paths.display(arguments.classes)} has {len(names)} names, {len(set(names))} of them distinct, for "
            f"{num_classes} outputs; write one name a line in head order"
        )
    return names


def _split(arguments: argparse.Namespace, names: list[str], num_classes: int) -> ClassSplit:
    """The split by --seen: a file with one class a line if such a file exists, else classes separated by commas."""
    if os.path.isfile(arguments.seen):  # unlike Path.is_file, it takes a list that is too long for a file name
        written = external_files.read_lines(Path(arguments.seen))
    else:
        written = [part.strip() for part in arguments.seen.split(",") if part.strip()]
    return ClassSplit(num_classes, [class_id(part, names, num_classes, "--seen") for part in written])


def _check_test(labels: torch.Tensor, split: ClassSplit, path: Path) -> None:
    outside = labels[(labels < 0) | (labels >= split.num_classes)]
    if len(outside):
        raise UserError(
            f"{paths.display(path)} has the label {int(outside[0])}, outside 0..{split.num_classes - 1}; correct its "
            "labels"
        )
    seen = split.is_seen(labels)
    if seen.all() or not seen.any():
        raise UserError(
            f"{paths.display(path)} has {'no absent' if seen.all() else 'no seen'} class; --test takes samples of "
            "both, to show what each wins and loses"
        )


def _check_width(other: torch.Tensor, path: Path, logits: torch.Tensor, data: Path) -> None:
    if other.shape[1] != logits.shape[1]:
        raise UserError(
            f"{paths.display(path)} has {other.shape[1]} classes and {paths.display(data)} {logits.shape[1]}; give "
            "logits of the same model"
        )


def _check_held_out(labels: torch.Tensor, split: ClassSplit, path: Path) -> None:
    known = (labels >= 0) & (labels < split.num_classes)
    if not len(labels) or not known.all() or not split.is_seen(labels).all():
        raise UserError(
            f"{paths.display(path)} has no sample, or one that is not of the seen classes; --held-out takes samples of "
            "seen classes that were not trained on"
        )


def _check_numbers(arguments: argparse.Namespace) -> None:
    for name in ("image_size", "batch_size"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} is {value}; give a positive number")
    if arguments.std and min(arguments.std) <= 0:
        raise UserError(f"--std is {arguments.std}; give three positive numbers")
    if arguments.crop_pct is not None and not 0 < arguments.crop_pct <= 1:
        raise UserError(f"--crop-pct is {arguments.crop_pct}; give a share in (0, 1]")


def _looks(arguments: argparse.Namespace, model: nn.Module) -> dict:
    """Size, scaling and interpolation of images: those of timm's own validation unless the arguments differ."""
    stated = model.pretrained_cfg
    size = arguments.image_size
    return {
        "input_size": (3, size, size) if size else tuple(stated["input_size"]),
        "mean": tuple(arguments.mean or stated["mean"]),
        "std": tuple(arguments.std or stated["std"]),
        "crop_pct": arguments.crop_pct or stated["crop_pct"],
        "interpolation": stated["interpolation"],
    }
