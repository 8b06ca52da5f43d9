"""Several processes side by side on this machine. One that is killed is replaced, and its run goes on."""

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context

from ...core.run_spec import RunSpec
from ...core.workers import end_with_parent
from ..execute import execute, state
from .engine import Outcome, Settings, begin_worker, killed

BREAKS = 3  # in a row, with no run ended in between


def run(specs: Sequence[RunSpec], settings: Settings) -> Iterator[Outcome]:
    """Execute runs, and yield each in the order in which they end.

    Closed early, it waits for the runs that have begun and leaves out the others. Interrupted, it ends them too: they
    go on from their last epoch next time. A killed process breaks its whole pool, so a new pool takes over what is
    left, runs that had begun last: if one of them needs too much memory, the others get done before it.
    """
    left = list(dict.fromkeys(specs))
    breaks = 0
    while left and breaks < BREAKS:
        for outcome in _in_one_pool(left, settings):
            breaks = 0
            left = [spec for spec in left if spec != outcome.spec]
            yield outcome
        breaks += 1  # if anything is left
        left = sorted(left, key=lambda spec: state(spec.run_id) == "partial")
    for spec in left:
        yield Outcome(spec, killed(spec, BREAKS))


def _in_one_pool(specs: Sequence[RunSpec], settings: Settings) -> Iterator[Outcome]:
    """The outcomes of all specs, or of those that ended before a process was killed."""
    with ProcessPoolExecutor(settings.workers, get_context("spawn"), _begin, (settings,)) as pool:
        try:
            futures = {pool.submit(execute, spec, settings.device): spec for spec in specs}
            for future in as_completed(futures):
                error = future.exception()
                if not isinstance(error, BrokenProcessPool):
                    yield Outcome(futures[future], error)
        except BrokenProcessPool:  # while runs were being submitted
            return
        except KeyboardInterrupt:
            for process in active_children():
                process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(settings: Settings) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process ends the others
    end_with_parent()
    begin_worker(settings)
