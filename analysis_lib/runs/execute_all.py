"""Many runs: one after another, or in several processes side by side."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import torch

from ..core.resources import share_cores
from ..core.run_spec import RunSpec
from .execute import execute


def execute_all(specs: Sequence[RunSpec], device: str = "", processes: int = 1) -> Iterator[RunSpec]:
    """Execute runs, and yield each in the order in which they finish.

    processes : work side by side on the CPU, each on its share of the cores, but with no more threads than this process
    may use. One process with one thread uses a core better than several threads of one process. Raises as `execute`;
    runs that have not begun are then left out.
    """
    if processes == 1:
        for spec in specs:
            execute(spec, device)
            yield spec
        return
    threads = min(torch.get_num_threads(), max(1, (os.cpu_count() or 1) // processes))
    with ProcessPoolExecutor(processes, get_context("spawn"), _begin, (threads, processes)) as pool:
        futures = {pool.submit(execute, spec, device): spec for spec in specs}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(threads: int, processes: int) -> None:
    """Give a new process its share of the cores."""
    torch.set_num_threads(threads)
    share_cores(processes)
