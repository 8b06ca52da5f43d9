"""Progress bars and log lines."""

import os
import sys
import threading
from collections.abc import Iterable, Iterator

from tqdm.auto import tqdm

from .errors import printable
from .processes import share

HEADLESS = "TQDM_DISABLE"  # tqdm's own switch; set for headless kernels
tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which a worker that is ended leaves behind


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def progress(items: Iterable, title: str, total: int | None = None) -> Iterator:
    """Yield `items`, with a bar in a terminal or an open notebook; no bar in a log file or a headless notebook.

    total : of items that have no length.
    """
    return tqdm(items, desc=title, total=total, leave=False, disable=not (watched() and share().is_first))


def watched() -> bool:
    """Whether someone looks on: in a terminal or an open notebook."""
    return sys.stderr.isatty() or (in_notebook() and not os.environ.get(HEADLESS))


def announce(step: str) -> None:
    """Log a long step that has no bar, where someone looks on."""
    if watched():
        log(step)


def log(line: str) -> None:
    """Print one line of progress: to the error stream, or in a notebook to its output. One process speaks for all."""
    if share().is_first:
        print(printable(line), file=sys.stdout if in_notebook() else sys.stderr, flush=True)
