"""What someone's own data say about each image: its class and, where they are known, split, group, date and place.

The data are a folder with a sub-folder for each class, a folder with such folders `train`, `test` and `val`, a list
file, or a table (.csv) with a header. Nothing is decoded.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pandas as pd

from ..core import external_files, paths
from ..core.errors import UserError, unknown
from ..core.progress import log
from .image_lists import class_folders, located, read_folder, read_list, refuse
from .manifest import OPTIONAL, SOURCE

SUBSETS = ("train", "test", "val")
CLASS = ("label", "class")  # either heads the column of classes in a table
COLUMNS = ("path", "label", "split", "group", *OPTIONAL)


def read_rows(
    data: Path, test: Path | None, source: Path | None, root: Path | None, headers: Mapping[str, str]
) -> tuple[pd.DataFrame, list[str], list[Path]]:
    """The rows of all data, the names of their class folders, and the folders in which the files lie.

    test : the test images, if `data` are the training images alone. source : images of the source domain.
    root : the folder that the paths of lists and tables start from; None for their own. headers : from our names of the
    columns of a table to those that it has.

    Rows have the columns file, class, split (missing where it is yet to be drawn), group, date and place (missing where
    they are not known). `val` is the test part if there is no other, else it is trained on. Raises UserError as the
    readers do, for a table without the columns, for a split that is given twice, and for what no source has a use for.
    """
    given = [path for path in (data, test, source) if path]
    if root and all(path.is_dir() for path in given):
        raise UserError("--root is where the paths of a list or a table start, and a folder has none; leave it out")
    if headers and all(path.suffix.lower() != ".csv" for path in given):
        raise UserError("--column names the columns of a table (.csv), and none is given; leave it out")
    opened = {part: path for part, path in (("train", data), ("test", test)) if path}
    if not test:
        opened = _subset_folders(data) or {None: data}
    if source:
        opened[SOURCE] = source
    tables, names, folders = [], set(), []
    for part, path in opened.items():
        table, found, folder = _read(path.resolve(), root, headers)
        if part and "split" in table:
            raise UserError(
                f"{paths.display(path)} has a column of splits and is given as the {part} images; give one of the two"
            )
        tables.append(table.assign(split=part) if part else table)
        names.update(found)
        folders.append(folder)
    rows = pd.concat(tables, ignore_index=True).reindex(columns=["file", "class", "split", "group", *OPTIONAL])
    rows = rows.astype(object)  # a column that is missing everywhere is one of texts too
    return rows.assign(split=_without_val(rows["split"])), sorted(names), folders


def _subset_folders(data: Path) -> dict[str | None, Path]:
    """The sub-folders train, test and val, if a folder consists of these; else none."""
    folders = {folder.name: folder for folder in class_folders(data)} if data.is_dir() else {}
    if "train" not in folders or not folders.keys() & {"test", "val"}:
        return {}
    if others := sorted(folders.keys() - set(SUBSETS)):
        raise UserError(
            f"{paths.display(data)} has train/ and other subsets beside {others[0]}/; move what is no subset "
            "elsewhere, or give the training folder, and the test folder with --test"
        )
    return {part: folders[part] for part in SUBSETS if part in folders}


def _without_val(split: pd.Series) -> pd.Series:
    """Splits with `val` as `test` where there is no other, else as `train`."""
    val = split == "val"
    instead = "train" if (split == "test").any() else "test"
    if val.any():
        log(f"{int(val.sum())} images of the split 'val' are {instead} images here")
    return split.mask(val, instead)


def _read(path: Path, root: Path | None, headers: Mapping[str, str]) -> tuple[pd.DataFrame, list[str], Path]:
    """The rows of one source, the names of its class folders, and the folder of its files."""
    if path.is_dir():
        found, folder = read_folder(path), path
    elif not path.is_file():
        raise UserError(
            f"there is no {paths.display(path)}; give a folder with a sub-folder for each class, a list file, or a "
            "table (.csv)"
        )
    else:
        folder = root.resolve() if root else path.parent
        if path.suffix.lower() == ".csv":
            return _read_table(path, folder, headers), [], folder
        found = read_list(path, folder)
    return pd.DataFrame({"file": found.files, "class": found.classes}), found.names, folder


def _read_table(path: Path, folder: Path, headers: Mapping[str, str]) -> pd.DataFrame:
    """The rows of a table. Raises UserError that names the column, or counts the lines that break a rule."""
    table = external_files.read_table(path, dtype=str, keep_default_na=False, na_values=[""])
    columns = _columns(path, list(table.columns), headers)
    table = pd.DataFrame({ours: table[theirs] for ours, theirs in columns.items()})
    if table.empty:
        raise UserError(f"{paths.display(path)} is empty; write one image a line below the header")
    lines = [",".join(map(str, row)) for row in table.fillna("").itertuples(index=False)]
    for column in ("path", "label", "split"):
        if column in table:
            refuse(path, lines, f"has no {columns[column]}", table[column].isna().tolist())
    if "split" in table:
        for written in table["split"].unique():
            if written not in (*SUBSETS, SOURCE):
                raise unknown(f"split in {paths.display(path)}", written, [*SUBSETS, SOURCE])
    if "date" in table:
        refuse(path, lines, "has a date that is neither a year nor ISO", [not _is_date(date) for date in table["date"]])
    files = located(path, table["path"].tolist(), lines, folder)
    return table.rename(columns={"label": "class"}).drop(columns="path").assign(file=files)


def _columns(path: Path, present: list[str], headers: Mapping[str, str]) -> dict[str, str]:
    """From our names to the table's, for the columns that it has."""
    for theirs in headers.values():
        if theirs not in present:
            raise unknown(f"column in {paths.display(path)}", theirs, present)
    columns = {name: name for name in COLUMNS if name in present} | dict(headers)
    classes = [name for name in CLASS if name in present]
    if "label" not in headers:
        if len(classes) != 1:
            raise UserError(
                f"{paths.display(path)} has columns {', '.join(present[:8])}; name the one of the classes with "
                "--column label=NAME"
            )
        columns["label"] = classes[0]
    if "path" not in columns:
        raise UserError(
            f"{paths.display(path)} has columns {', '.join(present[:8])}; name the one of the files with --column "
            "path=NAME"
        )
    return columns


def _is_date(text: object) -> bool:
    """Whether a cell is empty, a year, a month or an ISO date or time."""
    if not isinstance(text, str) or re.fullmatch(r"\d{4}(-(0[1-9]|1[0-2]))?", text):
        return True
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
