"""Make a manifest from someone's own data: read, check every file, draw the split if none is given, write."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ..core import paths
from ..core.errors import UNPRINTABLE, UserError
from ..core.progress import log
from . import BENCHMARKS
from .collection import network_fields
from .image_lists import refuse_outside
from .manifest import NO_NETWORK, OPTIONAL, SOURCE, Manifest
from .own_checks import hash_pictures, in_two_subsets, under_two_classes
from .own_classes import label_classes, name_classes, parse_seen, refuse_empty
from .own_data import write_manifest
from .own_rows import read_rows
from .own_split import draw_split, merged_groups

TEST_SHARE = 0.2
PLAIN_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"  # of a manifest: it names two files
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@dataclass(frozen=True)
class OwnData:
    """What `manifest create` is told; paths, names and texts as the user gives them.

    data, test, source, root, columns : as `own_rows.read_rows` takes them.
    classes : a file of class names in head order.
    seen : names, a file of names, or a share.
    group : a pattern; images in whose paths it matches the same text belong together. Empty for each by itself.
    test_share : the share of each class's groups that is drawn as test, if no split is given.
    model, image_size, title : of the manifest's head; empty or None for the defaults.
    """

    name: str
    data: Path
    test: Path | None = None
    source: Path | None = None
    root: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    classes: Path | None = None
    seen: str = "0.5"
    group: str = ""
    test_share: float | None = None
    model: str = ""
    image_size: int | None = None
    title: str = ""


def create_manifest(own: OwnData) -> Manifest:
    """Write `data_manifests/<name>.*` for files that stay where they are; the manifest as it is read again.

    Raises UserError, and writes nothing, for a name that is taken, for data, classes or files that cannot be used, and
    for a picture that lies in two subsets.
    """
    _check_name(own.name)
    if own.test_share is not None and not 0 < own.test_share < 1:
        raise UserError(f"--test-share is {own.test_share}; give a share between 0 and 1")
    head = _network(own)
    rows, folders, roots = read_rows(own.data, own.test, own.source, own.root, own.columns)
    where = paths.display(own.data)
    names = name_classes(own.classes, folders, rows["class"].tolist(), where)
    rows["label"] = label_classes(rows["class"].tolist(), names, where)
    refuse_empty(rows.loc[rows["split"] != SOURCE, "label"], names, where)
    seen = parse_seen(own.seen, names)
    folder = Path(os.path.commonpath(roots))
    title = own.title or f"Images of {own.data.resolve().name}"
    for text in (title, str(folder)):
        if UNPRINTABLE.search(text):
            raise UserError(f"{text!a} has control characters or is no UTF-8; rename the folder or give a --title")
    refuse_outside(rows["file"].tolist(), folder)
    rows["path"] = _relative_paths(rows["file"].tolist(), folder)
    rows["group"] = _groups(rows, own.group)
    rows["sha256"] = hash_pictures(rows["file"].tolist())
    _refuse_in_two_subsets(rows, where)
    rows["group"] = merged_groups(rows["group"].tolist(), rows["sha256"].tolist())
    rows["split"] = _splits(rows, own)
    _log_findings(rows, names)
    known = [column for column in OPTIONAL if rows[column].notna().any()]
    rows = rows[["path", "label", "split", "group", "sha256", *known]]
    return write_manifest(own.name, folder, rows, names, head | {"title": title, "seen": seen})


def _check_name(name: str) -> None:
    if name in BENCHMARKS:
        raise UserError(f"--name {name} is a benchmark of this package; choose another")
    if not re.fullmatch(PLAIN_NAME, name):
        raise UserError(f"--name is {name!r}; give a name of letters, digits, '-', '_' and '.'")
    for path in (paths.manifest_head(name), paths.manifest_body(name)):
        if path.exists():
            raise UserError(f"there is {paths.display(path)} already; choose another --name, or delete it")


def _network(own: OwnData) -> dict:
    """The fields of the head that depend on the network, or its defaults until there is one. Raises UserError."""
    if own.image_size is not None and own.image_size < 1:
        raise UserError(f"--image-size is {own.image_size}; give a positive number")
    if own.model:
        looks = network_fields(own.model, own.image_size)
    else:
        looks = IMAGENET | {"model": NO_NETWORK, "image_size": own.image_size or 224}
    return looks | {
        "weights": SOURCE if own.source else NO_NETWORK,
        "augmentation": {"scale": (0.7, 1.0), "flip": True},
    }


def _relative_paths(files: list[Path], folder: Path) -> list[str]:
    """Paths below the folder. Raises UserError for names that no CSV file can hold, and for a file that comes twice."""
    names = pd.Series([str(file.relative_to(folder)) for file in files], dtype=object)
    for rule, broken in (
        (
            "have names with control characters or of no UTF-8; rename them",
            names.map(lambda x: bool(UNPRINTABLE.search(x))),
        ),
        ("are listed twice; list each once", names.duplicated()),
    ):
        if broken.any():
            first = ", ".join(ascii(name) for name in names[broken].head(3))
            raise UserError(f"{int(broken.sum())} of {len(names)} files, first {first}, {rule}")
    return names.tolist()


def _groups(rows: pd.DataFrame, pattern: str) -> pd.Series:
    """The group of each image: its own path unless the table or the pattern says another. Raises UserError."""
    if not pattern:
        return rows["group"].fillna(rows["path"])
    if rows["group"].notna().any():
        raise UserError("the table has a column of groups; leave out --group, or the column")
    try:
        found = [re.search(pattern, path) for path in rows["path"]]
    except re.error as error:
        raise UserError(f"--group {pattern!r} is no regular expression ({error}); correct it") from None
    unmatched = [path for path, match in zip(rows["path"], found) if not match]
    if unmatched:
        raise UserError(
            f"--group {pattern!r} matches no part of {len(unmatched)} of {len(found)} paths, first "
            f"{', '.join(unmatched[:3])}; give a pattern that matches in each"
        )
    return pd.Series([match[0] for match in found], index=rows.index)


def _refuse_in_two_subsets(rows: pd.DataFrame, where: str) -> None:
    twice = in_two_subsets(rows)
    if len(twice):
        raise UserError(
            f"{where}: {twice['sha256'].nunique()} pictures lie in two subsets, first "
            f"{' and '.join(twice['path'].head(2))}; a picture must not be trained on and tested, so remove one of each"
        )


def _splits(rows: pd.DataFrame, own: OwnData) -> pd.Series:
    """The split of each row: as given, else drawn."""
    undrawn = rows["split"].isna()
    if own.test_share is not None and not undrawn.any():
        raise UserError("the split is given by the data; leave out --test-share")
    share = TEST_SHARE if own.test_share is None else own.test_share
    target = rows[undrawn]
    drawn = draw_split(target["group"].tolist(), target["label"].tolist(), share, own.name)
    return rows["split"].where(~undrawn, pd.Series(drawn, index=target.index, dtype=object))


def _log_findings(rows: pd.DataFrame, names: list[str]) -> None:
    """Name what is allowed and yet worth a look."""
    copies = rows["sha256"].duplicated()
    if copies.any():
        first = rows["path"][copies].iloc[0]
        log(f"{int(copies.sum())} images are copies of others, first {first}; copies stay in one subset")
    two = under_two_classes(rows)
    if len(two):
        classes = " and ".join(f"{path} ({names[label]})" for path, label in zip(two["path"][:2], two["label"][:2]))
        log(f"{two['sha256'].nunique()} pictures lie under two classes, first {classes}; correct their labels")
    for part in ("train", "test"):
        present = set(rows.loc[rows["split"] == part, "label"])
        lacking = [name for label, name in enumerate(names) if label not in present]
        if lacking:
            log(f"no {part} image of {len(lacking)} of {len(names)} classes, first {', '.join(lacking[:3])}")
