"""What the verb `calibrate` is given, checked before anything is computed: a model with images, or ready logits."""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import timm.data
import torch
from torch import nn

from ..benchmarks.user_images import ImageBatches, Source, class_id, class_names, is_manifest, open_source
from ..core import external_files, paths
from ..core.class_split import ClassSplit
from ..core.device import pick_device
from ..core.errors import UserError
from ..models import user_weights
from .calibrate import collect_logits, refuse_absent


@dataclass(frozen=True)
class Measured:
    """Logits (N, C) and labels (N,) of the fine-tuning data and, where there is any, of the test data; the pre-trained
    logits where there is such a model; two images as a probe."""

    logits: torch.Tensor
    labels: torch.Tensor
    pretrained_logits: torch.Tensor | None = None
    test_logits: torch.Tensor | None = None
    test_labels: torch.Tensor | None = None
    test_pretrained_logits: torch.Tensor | None = None
    probe: torch.Tensor | None = None


@dataclass(frozen=True)
class Inputs:
    """Everything but the forward passes. names : of the classes, or empty; about : what the report says of the inputs;
    measure : the forward passes."""

    split: ClassSplit
    names: list[str]
    model: nn.Module | None
    about: dict
    measure: Callable[[], Measured]


def is_logits(path: Path) -> bool:
    """Whether a source is a file of ready logits, by its name."""
    return path.suffix.lower() in external_files.ARRAYS and not path.is_dir()


def from_logits(arguments: argparse.Namespace) -> Inputs:
    """Ready logits, with the pre-trained model's for the same samples and test logits if given. Raises UserError."""
    logits, labels = external_files.read_logits(arguments.data)
    names = _names(arguments, [], logits.shape[1])
    split = _split(arguments, names, logits.shape[1])
    refuse_absent(labels, split)
    pretrained = test = test_labels = None
    if arguments.pretrained:
        pretrained, its_labels = external_files.read_logits(arguments.pretrained)
        if pretrained.shape != logits.shape or not torch.equal(its_labels, labels):
            raise UserError(f"{paths.display(arguments.pretrained)} and {paths.display(arguments.data)} differ in shape or labels; "
                            "give the logits of the same samples in the same order")
    if arguments.test:
        test, test_labels = external_files.read_logits(arguments.test)
        if test.shape[1] != logits.shape[1]:
            raise UserError(f"{paths.display(arguments.test)} has {test.shape[1]} classes and {paths.display(arguments.data)} {logits.shape[1]}; "
                            "give logits of the same model")
        _check_test(test_labels, split, arguments.test)
    return Inputs(split, names, None, {"data": str(arguments.data), "samples": len(labels)},
                  lambda: Measured(logits, labels, pretrained, test, test_labels))


def from_images(arguments: argparse.Namespace) -> Inputs:
    """A timm model, its checkpoint and labelled images; nothing is decoded yet. Raises UserError."""
    _check_numbers(arguments)
    device = pick_device(arguments.device)
    model = user_weights.load_classifier(arguments.model, arguments.checkpoint, arguments.image_size).to(device)
    num_classes = model.num_classes
    sources = [open_source(path, part) for path, part in ((arguments.data, "train"), (arguments.test, "test")) if path]
    names = _names(arguments, sources, num_classes)
    split = _split(arguments, names, num_classes)
    labels = [source.labels(names, num_classes) for source in sources]
    files = [source.files for source in sources]
    if is_manifest(arguments.data):  # it lists the absent classes' training images too
        seen = split.is_seen(labels[0])
        files[0], labels[0] = [files[0][row] for row in seen.nonzero().flatten()], labels[0][seen]
    refuse_absent(labels[0], split)
    if arguments.test:
        _check_test(labels[1], split, arguments.test)
    models = [model]
    if arguments.pretrained:
        models.append(user_weights.load_classifier(arguments.model, arguments.pretrained, arguments.image_size).to(device))
        if models[1].num_classes != num_classes:
            raise UserError(f"{paths.display(arguments.pretrained)} has {models[1].num_classes} outputs and {paths.display(arguments.checkpoint)} "
                            f"{num_classes}; give the pre-trained head the same classes in the same order")
    looks = _looks(arguments, model)
    about = {"model": arguments.model, "checkpoint": str(arguments.checkpoint), "data": str(arguments.data), "samples": len(labels[0]),
             "images": {name: list(value) if isinstance(value, tuple) else value for name, value in looks.items()}}

    def measure() -> Measured:
        transform = timm.data.create_transform(is_training=False, **looks)
        batches = [ImageBatches(own_files, own, transform, arguments.batch_size) for own_files, own in zip(files, labels)]
        train, train_labels, probe = collect_logits(models, batches[0], split.seen)
        test, test_labels, _ = collect_logits(models, batches[1], None) if arguments.test else ([], None, None)
        (train, before), (test, test_before) = ((*logits, None, None)[:2] for logits in (train, test))
        return Measured(train, train_labels, before, test, test_labels, test_before, probe)

    return Inputs(split, names, model, about, measure)


def _names(arguments: argparse.Namespace, sources: list[Source], num_classes: int) -> list[str]:
    if not arguments.classes:
        return class_names(sources, num_classes)
    names = external_files.read_lines(arguments.classes)
    if len(names) != num_classes or len(set(names)) < len(names):
        raise UserError(f"{paths.display(arguments.classes)} has {len(names)} names, {len(set(names))} of them distinct, for {num_classes} outputs; "
                        "write one name a line in head order")
    return names


def _split(arguments: argparse.Namespace, names: list[str], num_classes: int) -> ClassSplit:
    """--seen is a file with a class a line where such a file exists, else classes separated by commas."""
    is_file = os.path.isfile(arguments.seen)  # unlike Path.is_file, it takes a list that is too long for a name
    written = external_files.read_lines(Path(arguments.seen)) if is_file else [part.strip() for part in arguments.seen.split(",") if part.strip()]
    return ClassSplit(num_classes, [class_id(part, names, num_classes, "--seen") for part in written])


def _check_test(labels: torch.Tensor, split: ClassSplit, path: Path) -> None:
    outside = labels[(labels < 0) | (labels >= split.num_classes)]
    if len(outside):
        raise UserError(f"{paths.display(path)} has the label {int(outside[0])}, outside 0..{split.num_classes - 1}; correct its labels")
    seen = split.is_seen(labels)
    if seen.all() or not seen.any():
        raise UserError(f"{paths.display(path)} has {'no absent' if seen.all() else 'no seen'} class; --test takes samples of both, "
                        "to show what each wins and loses")


def _check_numbers(arguments: argparse.Namespace) -> None:
    for name in ("image_size", "batch_size"):
        if (value := getattr(arguments, name)) is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} is {value}; give a positive number")
    if arguments.std and min(arguments.std) <= 0:
        raise UserError(f"--std is {arguments.std}; give three positive numbers")
    if arguments.crop_pct is not None and not 0 < arguments.crop_pct <= 1:
        raise UserError(f"--crop-pct is {arguments.crop_pct}; give a share in (0, 1]")


def _looks(arguments: argparse.Namespace, model: nn.Module) -> dict:
    """Size, scaling and interpolation of images, as timm's own validation does unless the arguments say otherwise."""
    stated = model.pretrained_cfg
    size = arguments.image_size
    return {
        "input_size": (3, size, size) if size else tuple(stated["input_size"]),
        "mean": tuple(arguments.mean or stated["mean"]),
        "std": tuple(arguments.std or stated["std"]),
        "crop_pct": arguments.crop_pct or stated["crop_pct"],
        "interpolation": stated["interpolation"],
    }
