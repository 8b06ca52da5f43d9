"""Artifacts that are whole or absent: each is written to a temporary name and renamed.

A run directory is missing, partial or done; `done` is its last file. Nothing is pickled.
"""

import contextlib
import errno
import fcntl
import json
import os
from pathlib import Path

import pandas as pd
import safetensors
import safetensors.torch
import torch

from . import paths
from .errors import UserError

STATES = ("missing", "partial", "done")


@contextlib.contextmanager
def replacing(path: Path):
    """A temporary path beside `path` that takes its place if the block succeeds and is removed if it fails.

    Raises UserError when the disk is full or `path` cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"the disk is full: {paths.shown(path)} was not written; free some space and run "
                            "the same command again, it continues where it stopped") from None
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise UserError(f"cannot write {paths.shown(path)} ({error.strerror}); make its folder writable or "
                            "set FTC_ROOT to a folder that is") from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole; raises as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text; raises as `replacing` does."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """Write JSON with sorted keys; raises as `replacing` does."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write named tensors as safetensors; strided views are stored contiguous."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, safetensors.torch.save(plain, metadata))


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file onto the CPU. Raises UserError when it is absent or damaged."""
    return _open_tensors(path, lambda file: {name: file.get_tensor(name) for name in file.keys()})


def read_metadata(path: Path) -> dict[str, str]:
    """Only the metadata of a safetensors file."""
    return _open_tensors(path, lambda file: file.metadata() or {})


def _open_tensors(path: Path, take):
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return take(file)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"cannot read {paths.shown(path)} ({error}); delete it and run the same command again") from None


def write_table(df: pd.DataFrame, benchmark: str, name: str) -> Path:
    """Write a tidy table to results/<benchmark>/<name>.csv, with digits enough to read every float back."""
    path = paths.table(benchmark, name)
    write_text(path, df.to_csv(index=False, lineterminator="\n"))
    return path


def read_table(benchmark: str, name: str) -> pd.DataFrame:
    """Read results/<benchmark>/<name>.csv. Raises UserError when it is not there yet."""
    path = paths.table(benchmark, name)
    if not path.exists():
        raise UserError(f"there is no {paths.shown(path)} yet; run `make reproduce BENCHMARK={benchmark}`")
    return pd.read_csv(path)


def state(run_id: str) -> str:
    """`missing`, `partial` or `done`."""
    if paths.run_done(run_id).exists():
        return "done"
    return "partial" if paths.run(run_id).exists() else "missing"


@contextlib.contextmanager
def locked(run_id: str):
    """Hold a run for one process; the system lets go when that process ends, however it ends."""
    path = paths.run_lock(run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
