"""The inputs of the verb `calibrate`, checked before anything is computed: a model with images, or stored logits."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..core import external_files, paths
from ..core.class_split import ClassSplit
from ..core.device import pick_device
from ..core.errors import UserError
from ..models.user_network import UserNetwork
from .classes import check_held_out, check_test, read_names, read_seen
from .collect import refuse_absent
from .fold_recipe import FoldRecipe
from .folds import check_classes, train_folds
from .images import Measured, check_numbers, open_images
from .networks import open_cut
from .training import ImageFiles


@dataclass(frozen=True)
class Inputs:
    """The checked inputs, before any forward pass.

    names : of the classes, or empty.
    network : None for stored logits.
    about : what the report says about the inputs.
    measure : runs the forward passes, and trains the folds.
    """

    split: ClassSplit
    names: list[str]
    network: UserNetwork | None
    about: dict
    measure: Callable[[], Measured]


def from_logits(arguments: argparse.Namespace) -> Inputs:
    """Stored logits, with the pre-trained model's on the same samples and test logits if given. Raises UserError."""
    logits, labels = external_files.read_logits(arguments.data)
    names = read_names(arguments.classes, [], logits.shape[1])
    split = read_seen(arguments.seen, names, logits.shape[1])
    refuse_absent(labels, split)
    pretrained = test = test_labels = unlabelled = held_out = held_out_labels = None
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
        check_test(test_labels, split, arguments.test)
    if arguments.unlabelled:
        unlabelled = external_files.read_unlabelled_logits(arguments.unlabelled)
        _check_width(unlabelled, arguments.unlabelled, logits, arguments.data)
    if arguments.held_out:
        held_out, held_out_labels = external_files.read_logits(arguments.held_out)
        _check_width(held_out, arguments.held_out, logits, arguments.data)
        check_held_out(held_out_labels, split, arguments.held_out)
    measured = Measured(
        logits,
        labels,
        pretrained,
        test,
        test_labels,
        held_out_logits=held_out,
        held_out_labels=held_out_labels,
        unlabelled_logits=unlabelled,
    )
    about = {"data": str(arguments.data), "samples": len(labels)}
    return Inputs(split, names, None, about, lambda: measured)


def from_images(arguments: argparse.Namespace, recipe: FoldRecipe | None) -> Inputs:
    """A network, its checkpoint and labelled images. Decodes no image. Raises UserError.

    recipe : of the folds to train, or None.
    """
    check_numbers(arguments)
    device = pick_device(arguments.device)
    network = open_cut(arguments, arguments.checkpoint)
    model = network.model.to(device)
    images = open_images(arguments, network, arguments.held_out)
    if recipe:
        check_classes(images.own.labels, images.split)
    pretrained = None
    if arguments.pretrained:
        pretrained = open_cut(arguments, arguments.pretrained)
        if pretrained.model.num_classes != model.num_classes:
            raise UserError(
                f"{paths.display(arguments.pretrained)} has {pretrained.model.num_classes} outputs and "
                f"{paths.display(arguments.checkpoint)} {model.num_classes}; give the pre-trained head the same "
                "classes in the same order"
            )
        named = network.own_names, pretrained.own_names
        if all(named) and named[0].names != named[1].names:
            raise UserError(
                f"{paths.display(arguments.pretrained)} and {paths.display(arguments.checkpoint)} name their outputs "
                "differently, or in another order; give networks with the same names"
            )
        pretrained = pretrained.model.to(device)

    def measure() -> Measured:
        found = images.measure(model, pretrained)
        if not recipe:
            return found
        own = ImageFiles(images.own.files, images.transform)
        folds = train_folds(pretrained, own, found.labels, images.split, found.pretrained_logits, recipe)
        return replace(found, folds=folds)

    return Inputs(images.split, images.names, network, images.about(arguments, network, device), measure)


def _check_width(other: torch.Tensor, path: Path, logits: torch.Tensor, data: Path) -> None:
    if other.shape[1] != logits.shape[1]:
        raise UserError(
            f"{paths.display(path)} has {other.shape[1]} classes and {paths.display(data)} {logits.shape[1]}; give "
            "logits of the same model"
        )
