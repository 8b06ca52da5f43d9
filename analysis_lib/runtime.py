"""Device, named seeds, progress and versions: the surroundings of a computation."""

import ctypes
import hashlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterable, Iterator

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by CUDA at its first use

import torch
from tqdm.auto import tqdm

from .errors import UserError

HEADLESS = "TQDM_DISABLE"  # tqdm's own switch; set for kernels that nobody watches
GRID = 2.0**-24  # spacing of what is drawn at random
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


def seed_for(*names: object) -> int:
    """A 63-bit seed for a named stream, e.g. `seed_for("split", "emoji", 0)`; one name never moves another."""
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator_for(*names: object) -> torch.Generator:
    """A CPU generator for a named stream: the same numbers whatever the device."""
    return torch.Generator().manual_seed(seed_for(*names))


def on_grid(x: torch.Tensor) -> torch.Tensor:
    """`x` (float64) rounded to multiples of GRID, which makes a draw the same number on every processor.

    Roots, logarithms and fused products differ between processors in the last bits of a float64. The grid is a billion
    times as coarse as those, and numbers up to 1 on it are exact in float32 too.
    """
    return (x / GRID).round() * GRID


def normal_draws(shape: tuple[int, ...], *names: object) -> torch.Tensor:
    """Standard normal numbers, float64 on the CPU, from a named stream: the same on every processor."""
    return on_grid(torch.randn(shape, dtype=torch.float64, generator=generator_for(*names)))


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


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def progress(items: Iterable, title: str) -> Iterator:
    """`items`, with a bar in a terminal or an open notebook; a log or a headless notebook gets no half-drawn bars."""
    watched = sys.stderr.isatty() or (in_notebook() and not os.environ.get(HEADLESS))
    return tqdm(items, desc=title, leave=False, disable=not watched)


def log(line: str) -> None:
    """One line of progress for a person: to the error stream, or into the notebook's own output."""
    print(line, file=sys.stdout if in_notebook() else sys.stderr, flush=True)


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that numbers depend on."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in STACK}
