"""The machine a computation runs on: device, memory, determinism and library versions."""

import ctypes
import importlib.metadata
import math
import os
import platform

import torch

from .errors import UserError

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by CUDA at its first use
TRIM_THRESHOLD, MMAP_MAX = -1, -4  # glibc's numbers for mallopt
STACK = ("torch", "torchvision", "timm", "numpy", "pandas", "scikit-learn", "matplotlib", "seaborn", "papermill")


def pick_device(name: str | None = None) -> torch.device:
    """The named device, or CUDA where there is one, else the CPU.

    Raises UserError for a device that this machine or this torch does not have.
    """
    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()  # the device `meta` has none to copy
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device {name!r} cannot be used here ({reason}); leave it empty to have one picked") from None
    return device


def free_memory(device: torch.device) -> float:
    """The free bytes of a GPU. Infinite for any other device: there, what was loaded lies in its memory already."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf


def to_device(batch: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A batch on the device. For a GPU it is pinned first, so that the copy runs beside other work of both."""
    if device.type == "cuda" and batch.device.type == "cpu":
        batch = batch.pin_memory()
    return batch.to(device, non_blocking=True)


def reuse_memory() -> None:
    """Keep freed memory in the process instead of returning it to the system. Does nothing without glibc.

    By default glibc returns large blocks and requests them again for the next batch, and the kernel clears every page
    each time. `bench/training.py` measures what that costs. The process then stays at its largest size.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(MMAP_MAX, 0)
        library.mallopt(TRIM_THRESHOLD, -1)


def deterministic() -> None:
    """Set torch to give the same bytes on every run on the same machine."""
    torch.use_deterministic_algorithms(True)
    # no code reads uninitialised memory, and filling it costs up to a fifth of the time
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in STACK}
