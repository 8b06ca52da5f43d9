"""Engines: what carries out many runs, on one machine or on a cluster.

An engine takes specs and Settings, and yields the Outcome of each run once it has ended. A failed run does not stop the
rest. Every engine gives a run the same number of threads, so all give the same bytes on one machine. A new engine is a
file here, and a line in `ENGINES`.
"""

from collections.abc import Callable, Iterator, Sequence

from ...core.run_spec import RunSpec
from . import processes, ray, serial
from .engine import Outcome, Settings

ENGINES: dict[str, Callable[[Sequence[RunSpec], Settings], Iterator[Outcome]]] = {
    "serial": serial.run,
    "processes": processes.run,
    "ray": ray.run,
}
