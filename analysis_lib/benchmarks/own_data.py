"""Write the manifest of image files that lie on disk."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..core import paths
from ..core.errors import UserError
from ..core.progress import progress
from .manifest import COLUMNS, OPTIONAL, Head, Manifest, load_manifest, save_manifest


def write_manifest(
    name: str, folder: Path, rows: pd.DataFrame, class_names: Sequence[str], head: dict, origins: Sequence[dict] = ()
) -> Manifest:
    """Hash the files and write `data_manifests/<name>.*`; the manifest as it is read again.

    rows : columns path (relative to `folder`), label (an index into `class_names`), split, group, and date and place
    where they are known; sha256 too if the files were hashed before.
    head : the other fields of `manifest.Head`, such as title, seen, model, weights, image_size.
    origins : licences of the images, as `manifest.Licence`. Raises UserError for a missing file and as `check_body`.
    """
    missing = [path for path in rows["path"] if not (folder / path).is_file()]
    if missing:
        raise UserError(
            f"{len(missing)} files under {paths.display(folder)} are not there, first {', '.join(missing[:3])}"
        )
    if "sha256" not in rows:
        rows = rows.assign(sha256=hash_files(folder, rows["path"].tolist()))
    columns = COLUMNS + [column for column in OPTIONAL if column in rows]
    inside = folder.resolve().is_relative_to(paths.root())
    source = folder.resolve().relative_to(paths.root()) if inside else folder.resolve()
    fixed = {
        "name": name,
        "source": str(source),
        "builder": "folder",
        "licences": list(origins),
        "class_names": list(class_names),
        "sha256": "",
    }
    unknown_fields = head.keys() - Head.model_fields.keys()
    assert not unknown_fields, unknown_fields
    save_manifest(fixed | head, rows[columns])
    return load_manifest(name)


def hash_files(folder: Path, names: Sequence[str]) -> list[str]:
    """The sha256 of each file below `folder`."""
    hashes = []
    for name in progress(names, "hashing"):
        with open(folder / name, "rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashes
