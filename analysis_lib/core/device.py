"""The machine a computation runs on: device, memory, determinism and library versions."""

import ctypes
import importlib.metadata
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
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device {name!r} cannot be used here ({reason}); leave it empty to have one picked") from None
    return device


def reuse_memory() -> None:
    """Keep freed memory in the process, where the C library allows it: a batch's tensors are as large as the last one's.

    By default glibc hands large blocks back and takes them anew, and the kernel clears every page again; `bench/throughput.py`
    says what that costs. From then on the process stays as large as it once was.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(MMAP_MAX, 0)
        library.mallopt(TRIM_THRESHOLD, -1)


def deterministic() -> None:
    """Ask torch for the same bytes on every run on the same machine."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing reads such memory, and filling it costs up to a fifth
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that numbers depend on."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in STACK}
