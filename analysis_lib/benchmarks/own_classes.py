"""The classes of someone's own data: their names in head order, the label of each image, and the seen ones."""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from ..core import external_files, paths
from ..core.class_split import ClassSplit
from ..core.errors import UNPRINTABLE, UserError
from .image_lists import Source, class_id
from .user_images import class_names


def name_classes(file: Path | None, folders: Sequence[str], written: Sequence[str], where: str) -> list[str]:
    """The class names in head order.

    file : of --classes, or None for the names of the class folders, and the classes as written for each image; ids
    without names must be 0, 1, 2 ... without a gap. Raises UserError for that, for a repeated name, for names that
    differ in case alone or hold control characters, and for fewer than two.
    """
    if file:
        names, where = external_files.read_lines(file), paths.display(file)
    elif folders:
        written = sorted({*folders, *written})
        names = class_names([Source([], [], written, where)], len(written))
    else:
        names = _from_list(set(written), where)
    if len(names) < 2:
        raise UserError(f"{where} has {len(names)} class; a benchmark needs at least one seen and one absent class")
    before: dict[str, str] = {}
    for name in names:
        if UNPRINTABLE.search(name):
            raise UserError(f"{where} has the class {name!a} with control characters or of no UTF-8; rename it")
        same = before.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if same == name and names.count(name) > 1:
            raise UserError(f"{where} has the class {name!r} twice; write each once")
        if same != name:
            raise UserError(
                f"{where} has the classes {same!r} and {name!r}, which differ in case or accents' spelling alone; "
                "rename one, or merge them"
            )
    return names


def _from_list(written: set[str], where: str) -> list[str]:
    """Names for the classes that a list has: ids in their order, or words in alphabetical order."""
    if not all(name.isdecimal() for name in written):
        return sorted(written)
    names = [str(number) for number in range(len(written))]
    if written != set(names):
        raise UserError(
            f"{where} has {len(written)} ids, and they are not 0..{len(written) - 1}; name the classes with --classes "
            "FILE, one a line in head order"
        )
    return names


def label_classes(written: Sequence[str], names: Sequence[str], where: str) -> list[int]:
    """The label of each image. Raises UserError for an unknown class, and suggests the nearest."""
    ids = {name: class_id(name, names, len(names), where) for name in dict.fromkeys(written)}
    return [ids[name] for name in written]


def refuse_empty(labels: Sequence[int], names: Sequence[str], where: str) -> None:
    """Raise UserError that names classes without an image."""
    present = set(labels)
    lacking = [name for label, name in enumerate(names) if label not in present]
    if lacking:
        raise UserError(
            f"{where} has no image of {len(lacking)} of {len(names)} classes, first {', '.join(lacking[:3])}; add "
            "images, or leave these classes out"
        )


def parse_seen(written: str, names: Sequence[str]) -> float | list[str]:
    """The seen classes: a share such as 0.5, or names from a file or separated by commas, in head order.

    Raises UserError for a share that leaves no seen or no absent class, and for an unknown or repeated class.
    """
    if re.fullmatch(r"\d*\.\d+", written.strip()) and written not in names:
        share = float(written)
        if not 0 < round(share * len(names)) < len(names):
            raise UserError(
                f"--seen {written} of {len(names)} classes leaves no seen or no absent class; give a share between 0 "
                "and 1, or names"
            )
        return share
    ids = [class_id(part, names, len(names), "--seen") for part in external_files.read_listed(written)]
    return [names[label] for label in ClassSplit(len(names), ids).seen]
