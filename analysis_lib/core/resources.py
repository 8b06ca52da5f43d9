"""How much memory and how many processor cores this process may use."""

import os

from .errors import UserError

BUDGET = "FTC_MEMORY_BUDGET"  # in the environment, so that child processes see it too
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_processes = 1  # that work side by side, this one included


def memory_budget() -> int:
    """The bytes that decoded images may take: `FTC_MEMORY_BUDGET`, such as 500M or 8G, or a quarter of the memory.

    Raises UserError for a setting that is no size.
    """
    text = os.environ.get(BUDGET, "")
    return _size(text) if text else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def set_memory_budget(text: str) -> None:
    """Set the memory budget of this process and of those that it starts. Raises UserError as `memory_budget`."""
    _size(text)
    os.environ[BUDGET] = text


def _size(text: str) -> int:
    """The bytes that a text such as 8G names."""
    number, unit = (text[:-1], UNITS[text[-1:].upper()]) if text[-1:].upper() in UNITS else (text, 1)
    if not number.isdecimal():
        raise UserError(f"the memory budget is {text!r}; give bytes, or a whole number with K, M, G or T, such as 8G")
    return int(number) * unit


def share_cores(processes: int) -> None:
    """Say that so many processes like this one work side by side."""
    global _processes
    _processes = processes


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_processes() -> int:
    """How many workers this process may start: its share of all cores but one, at least 1."""
    return max(1, (cores() - 1) // _processes)
