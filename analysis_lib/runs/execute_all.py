"""Many runs of a study: one after another, or in several processes side by side, up to the first error."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing

import torch

from ..core.run_spec import RunSpec
from .engines import ENGINES, Settings


def execute_all(specs: Sequence[RunSpec], device: str = "", processes: int = 1) -> Iterator[RunSpec]:
    """Execute runs, and yield each in the order in which they finish.

    processes : work side by side on the CPU, each on its share of the cores, but with no more threads than this process
    may use. One process with one thread uses a core better than several threads of one process. Raises as `execute`;
    runs that have not begun are then left out.
    """
    threads = min(torch.get_num_threads(), max(1, (os.cpu_count() or 1) // processes))
    settings = Settings(device, processes, torch.get_num_threads() if processes == 1 else threads)
    engine = ENGINES["serial" if processes == 1 else "processes"]
    with closing(engine(specs, settings)) as outcomes:
        for outcome in outcomes:
            if outcome.error:
                raise outcome.error
            yield outcome.spec
