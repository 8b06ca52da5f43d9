"""Image files by class: found below a folder, or listed in a file. Nothing is decoded.

A file in a folder is an image if its name ends like one (whatever it then contains); every other file is counted and
named. Links are followed while they stay below the folder; one that leads out of it is refused.
"""

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from PIL import Image

from ..core import external_files, paths
from ..core.errors import UserError, unknown
from ..core.progress import log


@dataclass(frozen=True)
class Source:
    """Labelled image files, not yet decoded.

    files : N image files.
    classes : the class of each file as written, a name or an id.
    names : the sorted names of all class sub-folders, or the manifest's classes; empty for a list file.
    where : what was opened, for messages.
    seen : the seen classes that a manifest lists; else empty.
    """

    files: list[Path]
    classes: list[str]
    names: list[str]
    where: str
    seen: Sequence[str] = ()

    def labels(self, names: Sequence[str], num_classes: int) -> torch.Tensor:
        """(N,) int64. Raises UserError for a class that is neither a name nor an id."""
        ids = {name: class_id(name, names, num_classes, self.where) for name in dict.fromkeys(self.classes)}
        return torch.tensor([ids[name] for name in self.classes])


def class_id(written: str, names: Sequence[str], num_classes: int, where: str) -> int:
    """The index of a class that is written as a name or else as an id. Raises UserError.

    Names that differ only in how Unicode composes their letters, as file systems and editors do, are the same name.
    """
    if written in names:
        return names.index(written)
    if written.isdecimal() and int(written) < num_classes:
        return int(written)
    if composed(written) in (among := [composed(name) for name in names]):
        return among.index(composed(written))
    if names:
        raise unknown(f"class in {where}", written, names)
    raise UserError(
        f"{where} has the class {written!r}, which is no id in 0..{num_classes - 1}; name the {num_classes} outputs "
        "with --classes FILE, one name a line in head order"
    )


def composed(name: str) -> str:
    """A name in Unicode's form NFC, in which a letter with its marks is one code point where there is one."""
    return unicodedata.normalize("NFC", name)


def read_folder(path: Path) -> Source:
    """The images of a folder with a sub-folder for each class, in a fixed order.

    What is left out is counted and named in a log line. Raises UserError if there is no image, and for links that lead
    out of the folder.
    """
    folders = class_folders(path)
    pairs, left_out = [], sorted(set(path.iterdir()) - set(folders))
    for folder in folders:
        images, others = list_images(folder)
        pairs += [(file, folder.name) for file in images]
        left_out += others
    log_left_out(path, left_out)
    if not pairs:
        raise UserError(
            f"{paths.display(path)} has no images in class sub-folders; expected {paths.display(path)}/<class>/<image>"
        )
    files = [file for file, _ in pairs]
    refuse_outside(files, path)
    return Source(files, [name for _, name in pairs], [folder.name for folder in folders], paths.display(path))


def class_folders(path: Path) -> list[Path]:
    """The sub-folders of a folder, sorted, without hidden ones."""
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def list_images(folder: Path) -> tuple[list[Path], list[Path]]:
    """All files below a folder, sorted: those that are images by their names, and the others.

    Hidden files and links to folders are among the others.
    """
    images, others = [], []
    for file in sorted(folder.rglob("*")):
        if file.is_dir() and not file.is_symlink():
            continue
        is_image = file.suffix.lower() in Image.registered_extensions()
        (images if is_image and not file.is_dir() and not file.name.startswith(".") else others).append(file)
    return images, others


def log_left_out(path: Path, left_out: Sequence[Path]) -> None:
    """Say how many files of a folder are left out, and name the first three."""
    if left_out:
        first = ", ".join(str(file.relative_to(path)) for file in left_out[:3])
        log(
            f"{paths.display(path)}: {len(left_out)} files are no images by their names, or are hidden, or lie in no "
            f"class folder; they are left out, first {first}"
        )


def read_list(path: Path, root: Path | None = None) -> Source:
    """The images of a list file, one `relative/path label` a line, split at its last space.

    root : the folder that the paths start from; None for the list's own. Raises UserError for an empty list, for lines
    without a label, and as `located`.
    """
    rows = [line.rpartition(" ") for line in external_files.read_lines(path)]
    if not rows:
        raise UserError(f"{paths.display(path)} is empty; write one `relative/path label` a line")
    lines = ["".join(row) for row in rows]
    refuse(path, lines, "is no `relative/path label`", [not name.strip() for name, _, _ in rows])
    files = located(path, [name.rstrip() for name, _, _ in rows], lines, root or path.parent)
    return Source(files, [label for _, _, label in rows], [], paths.display(path))


def located(path: Path, names: Sequence[str], lines: Sequence[str], root: Path) -> list[Path]:
    """The files that the lines of a list name, below `root`.

    Raises UserError for absolute and climbing paths, for files that are not there, and for links that lead out.
    """
    written = [PurePosixPath(name) for name in names]
    refuse(path, lines, "leaves the list's folder", [name.is_absolute() or ".." in name.parts for name in written])
    files = [root / name for name in names]
    refuse(path, lines, "names a file that is not there", [not os.path.isfile(file) for file in files])
    refuse_outside(files, root)
    return files


def refuse(path: Path, lines: Sequence[str], rule: str, broken: Sequence[bool]) -> None:
    """Raise UserError that counts the lines of a list which break a rule, and quotes the first."""
    if any(broken):
        raise UserError(
            f"{paths.display(path)}: {sum(broken)} of {len(lines)} lines: the line {rule}, first "
            f"{lines[broken.index(True)][:80]!r}; correct the list"
        )


def refuse_outside(files: Sequence[Path], root: Path) -> None:
    """Raise UserError for files that lie outside `root` once links are followed."""
    real = os.path.realpath(root)
    inside = {folder: _lies_in(folder, real) for folder in {file.parent for file in files}}
    outside = [file for file in files if not inside[file.parent] or (file.is_symlink() and not _lies_in(file, real))]
    if outside:
        raise UserError(
            f"{len(outside)} of {len(files)} files are links that lead out of {paths.display(root)}, first "
            f"{', '.join(paths.display(file) for file in outside[:3])}; copy the files into it, or give the folder in "
            "which they lie"
        )


def _lies_in(path: Path, real_root: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(real_root)
