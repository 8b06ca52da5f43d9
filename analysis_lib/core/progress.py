"""Bars and log lines of long work."""

import os
import sys
from collections.abc import Iterable, Iterator

from tqdm.auto import tqdm

HEADLESS = "TQDM_DISABLE"  # tqdm's own switch; set for kernels that nobody watches


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
