"""Rows of the table, and timing in turns.

Every form does its work once a round, one after another, so that a change in the machine's speed hits all of them. What
counts is the median over rounds of the ratio within a round.
"""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

CEILING = "the ratio is a share of a ceiling"
PART = "a part of the other form is timed and scaled up"


@dataclass(frozen=True)
class Row:
    """One comparison.

    area, name : what was compared.
    ours, other : the two figures, in `unit`.
    ratio : how many times better ours is, or the share of a ceiling that it reaches; then the note says so.
    limit : the least ratio that is acceptable; None if the row is only reported.
    """

    area: str
    name: str
    ours: float
    other: float
    unit: str
    ratio: float
    limit: float | None
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the ratio is acceptable; NaN never is."""
        return self.limit is None or self.ratio >= self.limit


def in_turns(*forms: Callable[[], object], rounds: int = 5) -> list[list[float]]:
    """The seconds of every form in every round, a list for each form, after one round that is not counted."""
    turns = [[_seconds(form) for form in forms] for _ in range(rounds + 1)][1:]
    return [list(times) for times in zip(*turns)]


def paired(ours: list[float], other: list[float]) -> float:
    """How many times as fast ours is: the median over rounds."""
    return statistics.median(b / a for a, b in zip(ours, other))


def compare(
    area: str,
    name: str,
    ours: Callable[[], object],
    other: Callable[[], object],
    limit: float | None,
    note: str = "",
    part: float = 1.0,
    rounds: int = 5,
) -> Row:
    """A row of seconds; `other` does only a `part` of the whole work, and its time is scaled up."""
    times, others = in_turns(ours, other, rounds=rounds)
    others = [seconds / part for seconds in others]
    return Row(area, name, statistics.median(times), statistics.median(others), "s", paired(times, others), limit, note)


def compare_rates(
    area: str, name: str, count: int, ours: list[float], other: list[float], limit: float | None, note: str = ""
) -> Row:
    """A row of images per second, from the seconds that `count` images took in each round."""
    rates = [count / statistics.median(times) for times in (ours, other)]
    return Row(area, name, *rates, "images/s", paired(ours, other), limit, note)


class Apart:
    """A form in a process of its own, with memory, threads and settings of its own; call it to do the work once.

    make : a function of a module, which gets `arguments` there and returns the form.
    """

    def __init__(self, make: Callable, *arguments):
        context = get_context("spawn")
        self.pool = ProcessPoolExecutor(1, context, initializer=_make, initargs=(make, arguments))

    def __call__(self) -> object:
        return self.pool.submit(_work).result()

    def close(self) -> None:
        self.pool.shutdown()


def _make(make: Callable, arguments: tuple) -> None:
    global _form
    _form = make(*arguments)


def _work() -> object:
    return _form()


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
