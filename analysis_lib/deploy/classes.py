"""Class names, seen classes and labels that users give, checked."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..benchmarks.image_lists import Source, class_id, composed
from ..benchmarks.user_images import class_names
from ..core import external_files, paths
from ..core.class_split import ClassSplit
from ..core.errors import UserError
from ..models.user_network import UserNetwork


def read_names(
    path: Path | None, sources: Sequence[Source], num_classes: int, network: UserNetwork | None = None
) -> list[str]:
    """The class names in head order; empty if there are none.

    They come from the file of --classes, else from the network's checkpoint, else from the sources, else they are
    ImageNet's for a head of 1,000 outputs.
    """
    if not path:
        if network and network.own_names:
            return network.own_names.names
        names = class_names(sources, num_classes)
        for source in sources:
            _refuse_alike(source.names, source.where)
        return names or (network.names.names if network and network.names else [])
    names = external_files.read_lines(path)
    if len(names) != num_classes or len(set(names)) < len(names):
        raise UserError(
            f"{paths.display(path)} has {len(names)} names, {len(set(names))} of them distinct, for "
            f"{num_classes} outputs; write one name a line in head order"
        )
    _refuse_alike(names, paths.display(path))
    return names


def _refuse_alike(names: Sequence[str], where: str) -> None:
    """Raise UserError for two names that look the same, as they differ only in how their letters are composed."""
    before: dict[str, str] = {}
    for name in names:
        same = before.setdefault(composed(name), name)
        if same != name:
            raise UserError(
                f"{where} has the classes {same!a} and {name!a}, which differ in accents' spelling alone; rename one, "
                "or merge them"
            )


def understood(source: Source, names: Sequence[str], network: UserNetwork) -> Source:
    """The source with its classes under the names of the outputs: a synonym such as n02123045 becomes `tabby`."""
    meant = {written: _name(written, names, network) for written in dict.fromkeys(source.classes)}
    return replace(source, classes=[meant[written] for written in source.classes])


def _name(written: str, names: Sequence[str], network: UserNetwork | None) -> str:
    """The output's name that a class written as a synonym means; a name, an id or anything unknown stays."""
    if written in names or written.isdecimal() or not network or not network.names:
        return written
    found = network.names.find(written)
    return written if found is None or network.names.names != names else names[found]


def read_seen(seen: str, names: Sequence[str], num_classes: int, network: UserNetwork | None = None) -> ClassSplit:
    """The split by --seen: a file with one class a line if such a file exists, else classes separated by commas.

    network : whose synonyms of the names are understood too.
    """
    return split_of(external_files.read_listed(seen), names, num_classes, network, "--seen")


def split_of(
    written: Sequence[str], names: Sequence[str], num_classes: int, network: UserNetwork | None, where: str
) -> ClassSplit:
    """The split whose seen classes are written as names, synonyms of them, or ids. Raises UserError."""
    meant = [_name(part, names, network) for part in written]
    return ClassSplit(num_classes, [class_id(part, names, num_classes, where) for part in meant])


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
