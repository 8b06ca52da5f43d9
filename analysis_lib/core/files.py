"""Atomic writing, reading, caching and locking of files.

Each file is written under a temporary name and then renamed, so it is complete or absent; what a killed process left
goes when the file is written again. A run directory is missing, partial or done; `done` is its last file. Nothing is
pickled.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
import safetensors

from . import paths
from .errors import UserError
from .progress import log

if TYPE_CHECKING:  # the functions that touch tensors and tables import these themselves: they are heavy
    import pandas as pd
    import torch

TEMPORARY = ".tmp"


@contextlib.contextmanager
def writing(path: Path):
    """Turn the errors of a full disk and of a read-only folder into a UserError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"the disk is full: {paths.display(path)} was not written; free some space and run the same command "
                "again, it continues where it stopped"
            ) from None
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise UserError(
                f"cannot write {paths.display(path)} ({error.strerror}); make its folder writable or set FTC_ROOT to "
                "a folder that is"
            ) from None
        raise


@contextlib.contextmanager
def replacing(path: Path):
    """Yield a temporary path beside `path`. It replaces `path` if the block succeeds and is removed if it fails.

    What killed processes left of the same file is removed first. Raises UserError as `writing` does.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        with open(temporary, "wb") as held:
            with contextlib.suppress(OSError):  # a file system without locks: there, nothing counts as abandoned
                fcntl.flock(held, fcntl.LOCK_EX)
            try:
                yield temporary
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files of `path` whose writers were killed: the system has released their locks.

    What a writer put beside its temporary file, under a longer name, goes with it.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{TEMPORARY}"):
        with contextlib.suppress(OSError), left.open("r+b") as file:  # OSError: its writer lives, or it has just ended
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for part in left.parent.glob(f"{glob.escape(left.name)}*"):
                part.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically; raises as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text; raises as `replacing` does."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """Write JSON with sorted keys; raises as `replacing` does."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write named tensors as safetensors, without a copy of all in memory; strided views are stored contiguous.

    Raises as `replacing` does.
    """
    from . import tensor_file

    with replacing(path) as temporary, open(temporary, "wb") as file:
        tensor_file.write(file, tensors, metadata)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Map a safetensors file into memory: its bytes are read when they are used. UserError if absent or damaged."""
    return _open_tensors(path, lambda file: {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (not a mapping)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file. Raises as `read_tensors` does."""
    return _open_tensors(path, lambda file: file.metadata() or {})


def _open_tensors(path: Path, take):
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return take(file)
    except (OSError, safetensors.SafetensorError) as error:
        inside = path.is_relative_to(paths.runs())
        culprit = paths.run(path.relative_to(paths.runs()).parts[0]) if inside else path
        raise UserError(
            f"cannot read {paths.display(path)} ({error}); delete {paths.display(culprit)} and run the same command "
            "again"
        ) from None


def cached(path: Path, make: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the cached tensors of a file, computing them on first use. Safe across processes."""
    if not path.exists():
        with locked(f"{path.parent.name}-{path.stem}"):
            if not path.exists():
                write_tensors(path, make())
    return read_tensors(path)


def write_table(df: pd.DataFrame, benchmark: str, name: str) -> Path:
    """Write a tidy table to results/<benchmark>/<name>.csv, with enough digits to restore every float exactly."""
    path = paths.table(benchmark, name)
    write_text(path, df.to_csv(index=False, lineterminator="\n"))
    return path


def read_table(benchmark: str, name: str) -> pd.DataFrame:
    """Read results/<benchmark>/<name>.csv. Raises UserError when it is not there yet, or damaged."""
    path = paths.table(benchmark, name)
    if not path.exists():
        raise UserError(f"there is no {paths.display(path)} yet; run `make reproduce BENCHMARK={benchmark}`")
    from .external_files import read_table as read_csv

    return read_csv(path)


@contextlib.contextmanager
def locked(name: str):
    """Lock a run or a shared cache for this process. The system releases it when the process ends or is killed."""
    path = paths.lock(name)
    lock = filelock.FileLock(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            log(f"waiting for another process that is making {name}")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
