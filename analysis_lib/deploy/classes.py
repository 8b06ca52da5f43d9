"""Class names, seen classes and labels that users give, checked."""

from collections.abc import Sequence
from pathlib import Path

import torch

from ..benchmarks.image_lists import Source, class_id
from ..benchmarks.user_images import class_names
from ..core import external_files, paths
from ..core.class_split import ClassSplit
from ..core.errors import UserError


def read_names(path: Path | None, sources: Sequence[Source], num_classes: int) -> list[str]:
    """The class names in head order, from the file of --classes or else from the sources; empty if there are none."""
    if not path:
        return class_names(sources, num_classes)
    names = external_files.read_lines(path)
    if len(names) != num_classes or len(set(names)) < len(names):
        raise UserError(
            f"{paths.display(path)} has {len(names)} names, {len(set(names))} of them distinct, for "
            f"{num_classes} outputs; write one name a line in head order"
        )
    return names


def read_seen(seen: str, names: Sequence[str], num_classes: int) -> ClassSplit:
    """The split by --seen: a file with one class a line if such a file exists, else classes separated by commas."""
    written = external_files.read_listed(seen)
    return ClassSplit(num_classes, [class_id(part, names, num_classes, "--seen") for part in written])


def occurring(source: Source, labels: torch.Tensor, num_classes: int) -> ClassSplit:
    """The split whose seen classes are those of the labels (N,) of a source. Raises UserError if none is absent."""
    seen = labels.unique().tolist()
    if len(seen) == num_classes:
        raise UserError(
            f"{source.where} has images of all {num_classes} classes, so none is absent; give images of some of them, "
            "or name the seen ones of a manifest with --seen"
        )
    return ClassSplit(num_classes, seen)


def check_test(labels: torch.Tensor, split: ClassSplit, path: Path) -> None:
    """Raise UserError if labels (N,) of the test data at `path` are not of both groups."""
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


def check_held_out(labels: torch.Tensor, split: ClassSplit, path: Path) -> None:
    """Raise UserError if labels (N,) of the held-out samples at `path` are not all of seen classes, or are none."""
    known = (labels >= 0) & (labels < split.num_classes)
    if not len(labels) or not known.all() or not split.is_seen(labels).all():
        raise UserError(
            f"{paths.display(path)} has no sample, or one that is not of the seen classes; --held-out takes samples of "
            "seen classes that were not trained on"
        )
