"""Read files made by others, without executing anything in them.

Weights are safetensors or `.pth` files, logits safetensors, `.npz` or CSV, and names plain text. A file that cannot be
read raises a UserError that names it.
"""

import argparse
import json
import os
import stat
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pydantic
import safetensors
import torch

from . import paths
from .errors import UNPRINTABLE, UserError

ARRAYS = (".npz", ".safetensors", ".csv")
WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".tar")
CHUNK = 8192  # rows that are checked at once
LARGEST = 1e30  # of a logit: sums and differences of float32 stay finite far beyond it


def read_bytes(path: Path) -> bytes:
    """The bytes of a file. Raises OSError, also for a pipe or a device."""
    _check_regular(path)
    return path.read_bytes()


def _check_regular(path: Path) -> None:
    """Raise OSError for what is no file, such as a pipe: whoever opens one may wait without end."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise OSError("it is a folder" if stat.S_ISDIR(mode) else "it is a pipe or a device and no file")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file. Raises UserError."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error, "give a UTF-8 text file") from None


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, stripped, without empty ones. Raises UserError, also for control characters."""
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    for line in lines:
        if UNPRINTABLE.search(line.replace("\t", " ")):
            raise UserError(f"{paths.display(path)} has control characters in {line[:80]!r}; give a plain text file")
    return lines


def read_listed(written: str) -> list[str]:
    """The lines of the file of that name if there is one, else the names in the text, separated by commas."""
    if os.path.isfile(written):  # unlike Path.is_file, it takes a list that is too long for a file name
        return read_lines(Path(written))
    return [part.strip() for part in written.split(",") if part.strip()]


def read_table(path: Path, **options) -> pd.DataFrame:
    """The table of a CSV file with a header, by the options of `pandas.read_csv`.

    Raises UserError, also for a column that is there twice and for lines with more cells than the header.
    """
    try:
        _check_regular(path)
        header = pd.read_csv(path, encoding="utf-8-sig", header=None, nrows=1, dtype=str).iloc[0]
        table = pd.read_csv(path, encoding="utf-8-sig", **options)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise _unreadable(path, error, "give a CSV file of UTF-8 text with a header") from None
    if header.duplicated().any():
        raise UserError(
            f"{paths.display(path)} has the column {header[header.duplicated()].iloc[0]!r} twice; rename one"
        )
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes the cells that are too many for row names
        raise UserError(f"{paths.display(path)} has lines with more cells than its header; quote cells with commas")
    return table


def read_json(path: Path) -> dict:
    """The object in a JSON file. Raises UserError."""
    try:
        return parse_json(read_bytes(path), path)
    except OSError as error:
        raise _unreadable(path, error, "give a JSON file") from None


def parse_json(raw: bytes, path: Path) -> dict:
    """The object in the bytes of a JSON file. Raises UserError, also for a key that is there twice."""
    try:
        value = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_distinct)
    except ValueError as error:  # also what is no UTF-8
        raise _unreadable(path, error, "give a JSON file") from None
    except RecursionError:
        raise UserError(f"{paths.display(path)} is nested too deeply; give a JSON file with an object") from None
    if not isinstance(value, dict):
        raise UserError(f"{paths.display(path)} holds a {type(value).__name__}; give a JSON file with an object")
    return value


def _distinct(pairs: list[tuple[str, object]]) -> dict:
    value = {}
    for name, each in pairs:
        if name in value:
            raise ValueError(f"the key {name!r} is there twice")
        value[name] = each
    return value


def wrong_field(error: pydantic.ValidationError, where: str) -> UserError:
    """The error for the first field that is not as its model says."""
    first = error.errors()[0]
    reason = first["msg"].removeprefix("Value error, ")
    return UserError(f"{where}: field {'.'.join(map(str, first['loc']))!r}: {reason}")


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises UserError."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 (not a mapping)
    except (OSError, safetensors.SafetensorError) as error:
        raise _unreadable(path, error, "give a whole safetensors file") from None


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """A state dict and its metadata from `.safetensors` or `.pth`; a `.pth` has no metadata.

    A `.pth` holds a state dict, alone or under `state_dict` or `model`. Prefixes that wrappers add to every name
    (`module.`, `_orig_mod.`) are removed. Raises UserError for anything else, and for a `.pth` that needs more than
    tensors to load.
    """
    _check(path, WEIGHTS)
    if path.suffix.lower() == ".safetensors":
        state, metadata = read_safetensors(path)
    else:
        state, metadata = _read_pth(path), {}
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not _is_state_dict(state):
        raise UserError(
            f"{paths.display(path)} holds no state dict; save `model.state_dict()`, alone or under the key 'state_dict'"
        )
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.nbytes > tensor.untyped_storage().nbytes():
            raise UserError(f"{paths.display(path)}: {name!r} is no plain tensor; save `model.state_dict()` again")
    for prefix in ("module.", "_orig_mod.", "module."):
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state, metadata


def _is_state_dict(state: object) -> bool:
    """Whether `state` is a dictionary of tensors with at least one entry."""
    if not isinstance(state, dict) or not state:
        return False
    return all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items())


def _read_pth(path: Path) -> object:
    try:
        if not _is_compressed(path):
            # timm's training script stores its arguments as a Namespace, which executes nothing when loaded
            with torch.serialization.safe_globals([argparse.Namespace]):
                return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 (a damaged or hostile file can raise anything)
        if "Unsupported global" in str(error):  # torch's words for a class or function that is not harmless
            raise UserError(
                f"{paths.display(path)} holds Python objects beside tensors, and these are never loaded; save "
                "`model.state_dict()` and give that file"
            ) from None
        raise UserError(
            f"cannot read {paths.display(path)}: it is damaged or no checkpoint; save `model.state_dict()` again"
        ) from None
    raise UserError(f"{paths.display(path)} is a compressed archive and no checkpoint; save `model.state_dict()` again")


def _is_compressed(path: Path) -> bool:
    """Whether a file is an archive with compressed entries: torch writes none, and a small one may fill the memory."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())


def read_logits(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Stored logits (N, C), float, and labels (N,) int64.

    `.npz` and `.safetensors` hold arrays `logits` and `labels`; CSV has columns `labels`, `logits_0` ...
    `logits_{C-1}`. Raises UserError that names the file and what it lacks.
    """
    arrays = _read_arrays(path, ("logits", "labels"))
    logits, labels = arrays["logits"], arrays["labels"]
    if logits.ndim != 2 or not logits.is_floating_point() or labels.shape != logits.shape[:1]:
        raise UserError(
            f"{paths.display(path)}: logits are {logits.dtype} {tuple(logits.shape)} and labels "
            f"{tuple(labels.shape)}; expected floats (N, C) and (N,)"
        )
    _check_values(path, logits)
    if labels.is_complex() or not (labels.double().frac() == 0).all() or not (labels.double().abs() < 2**53).all():
        raise UserError(f"{paths.display(path)}: labels are not whole numbers; give class indices")
    return logits, labels.long()


def read_unlabelled_logits(path: Path) -> torch.Tensor:
    """Stored logits (N, C), float, from a file as of `read_logits`, whose labels may be left out and are not read.

    Raises UserError that names the file and what it lacks.
    """
    logits = _read_arrays(path, ("logits",))["logits"]
    if logits.ndim != 2 or not logits.is_floating_point():
        raise UserError(
            f"{paths.display(path)}: logits are {logits.dtype} {tuple(logits.shape)}; expected floats (N, C)"
        )
    _check_values(path, logits)
    return logits


def _check_values(path: Path, logits: torch.Tensor) -> None:
    """Raise UserError for logits (N, C) without samples or classes, with NaN, or too large; -inf may mask a class."""
    where, (rows, classes) = paths.display(path), logits.shape
    if not rows or classes < 2:
        raise UserError(f"{where} has {rows} samples of {classes} classes; give at least one sample of two classes")
    for start in range(0, rows, CHUNK):
        part = logits[start : start + CHUNK]
        wrong = ~((part.abs() <= LARGEST) | (part == -torch.inf))
        if wrong.any():
            row, column = wrong.nonzero()[0].tolist()
            raise UserError(
                f"{where}: the logits hold {part[row, column]:.3g}, first in row {start + row}; they must be "
                f"numbers up to {LARGEST:g} in size: check the model that made them"
            )


def _read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The arrays of a file, at least those of the given names."""
    _check(path, ARRAYS)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        arrays = _read_npz(path)
    elif suffix == ".csv":
        arrays = _read_csv(path)
    else:
        arrays, _ = read_safetensors(path)
    if missing := [name for name in names if name not in arrays]:
        raise UserError(
            f"{paths.display(path)} has no {missing[0]!r}, only {', '.join(arrays) or 'nothing'}; it needs logits (N, "
            f"C){' and labels (N,)' if 'labels' in names else ''}"
        )
    return arrays


# an encrypted archive or an unknown compression is a RuntimeError; an array that is said to be huge a MemoryError
DAMAGED_ARRAYS = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    MemoryError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
)


def _read_npz(path: Path) -> dict[str, torch.Tensor]:
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {}
            for name in ("logits", "labels"):
                if f"{name}.npy" in archive.namelist():
                    with archive.open(f"{name}.npy") as file:
                        array = np.lib.format.read_array(file, allow_pickle=False)
                        arrays[name] = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
            return arrays
    except DAMAGED_ARRAYS as error:
        raise _unreadable(path, error, "save plain number arrays with numpy.savez") from None


def _read_csv(path: Path) -> dict[str, torch.Tensor]:
    table = read_table(path)
    classes = [column for column in table.columns if column != "labels"]
    columns = [f"logits_{c}" for c in range(len(classes))]
    if not classes or sorted(classes) != sorted(columns):
        raise UserError(
            f"{paths.display(path)} has columns {', '.join(map(str, table.columns[:4]))}, ...; expected labels, "
            "logits_0, logits_1, ..., one for each class"
        )
    try:
        arrays = {"logits": torch.from_numpy(table[columns].to_numpy(dtype="float64", copy=True))}
        if "labels" in table:
            arrays["labels"] = torch.from_numpy(table["labels"].to_numpy(dtype="float64", copy=True))
    except ValueError as error:
        raise _unreadable(path, error, "give a CSV file of numbers") from None
    return arrays


def _check(path: Path, suffixes: tuple[str, ...]) -> None:
    if path.suffix.lower() not in suffixes:
        raise UserError(f"{paths.display(path)} is no {', '.join(suffixes)} file; save it as one of these")
    if not path.is_file():
        raise UserError(f"there is no file {paths.display(path)}; check the path")


def _unreadable(path: Path, error: Exception, remedy: str) -> UserError:
    reason = getattr(error, "strerror", None) or (str(error) or type(error).__name__).splitlines()[0]
    return UserError(f"cannot read {paths.display(path)} ({reason}); {remedy}")
