"""Look at every file of someone's own data: its hash, whether it is a picture, and whether it occurs twice."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from ..core import external_files, paths
from ..core.errors import UserError
from ..core.progress import progress
from .decode import open_picture


def hash_pictures(files: Sequence[Path]) -> list[str]:
    """The sha256 of each file. Raises UserError that counts and names those that are no usable picture."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        looked = list(progress(pool.map(_look, files), "checking"))
    bad = [f"{paths.display(file)} ({reason})" for file, (_, reason) in zip(files, looked) if reason]
    if bad:
        raise UserError(
            f"{len(bad)} of {len(files)} images cannot be read, first {', '.join(bad[:3])}; restore or remove them"
        )
    return [digest for digest, _ in looked]


def _look(file: Path) -> tuple[str, str]:
    """The sha256 of a file, and why it is no picture, or nothing."""
    try:
        data = external_files.read_bytes(file)
        open_picture(data)
    except OSError as error:
        return "", str(error.strerror or error)
    return hashlib.sha256(data).hexdigest(), ""


def in_two_subsets(body: pd.DataFrame) -> pd.DataFrame:
    """The rows whose picture, by its bytes, occurs in another subset too; a split that is not drawn yet is one."""
    subset = body["split"].fillna("undrawn")
    return _sorted(body[subset.groupby(body["sha256"]).transform("nunique") > 1])


def under_two_classes(body: pd.DataFrame) -> pd.DataFrame:
    """The rows whose picture, by its bytes, occurs under another class too."""
    return _sorted(body[body.groupby("sha256")["label"].transform("nunique") > 1])


def _sorted(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values("sha256", kind="stable")


def changed(body: pd.DataFrame, folder: Path) -> list[str]:
    """The files of a manifest that are missing, changed or links that lead out, each with what is wrong.

    Raises UserError if the folder is not there.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {paths.display(folder)}; restore it, or create the manifest again")
    real, found = os.path.realpath(folder), []
    for row in progress(body.itertuples(), "hashing"):
        file = folder / row.path
        try:
            digest = hashlib.sha256(external_files.read_bytes(file)).hexdigest()
        except OSError as error:
            found.append(f"{row.path}: {error.strerror or error}")
            continue
        if not Path(os.path.realpath(file)).is_relative_to(real):
            found.append(f"{row.path}: a link that leads out of {paths.display(folder)}")
        elif digest != row.sha256:
            found.append(f"{row.path}: its sha256 differs from the manifest")
    return found
