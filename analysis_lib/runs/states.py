"""How far many runs are: how many are done, and how long the others take."""

from collections import Counter
from collections.abc import Sequence
from statistics import median

from ..core import paths
from ..core.run_spec import RunSpec
from .execute import state

STATES = ("done", "partial", "missing")


def count_states(specs: Sequence[RunSpec]) -> dict[str, int]:
    """The number of runs in each of `STATES`."""
    found = Counter(state(spec.run_id) for spec in specs)
    return {name: found[name] for name in STATES}


def seconds_left(specs: Sequence[RunSpec], workers: int) -> float | None:
    """About how long the runs that are not done take, so many side by side; None while none is done.

    From the median time of an epoch in the finished runs, without those during which the clock was set back. A partial
    run counts as if it were missing.
    """
    done = [spec for spec in specs if state(spec.run_id) == "done"]
    measured = [seconds for seconds in map(_seconds_per_epoch, done) if seconds > 0]
    if not measured:
        return None
    epochs = sum(spec.epochs for spec in specs if spec not in done)
    return median(measured) * epochs / min(workers, max(1, len(specs) - len(done)))


def _seconds_per_epoch(spec: RunSpec) -> float:
    """From the beginning of a finished run, or from where it was last continued, to its end."""
    begun, ended = (path(spec.run_id).stat().st_mtime for path in (paths.run_environment, paths.run_done))
    return (ended - begun) / spec.epochs
