"""Worker processes, none of which outlives the process that uses it."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor


def end_with_parent(*_) -> None:
    """Let this worker process end when the one that uses it is killed: else it would wait for work for ever."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def in_own_process(function: Callable, *arguments: object) -> object:
    """What the function returns, called in a new process with as many threads as this one. It must be importable."""
    import torch  # heavy

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, _begin, (torch.get_num_threads(),)) as pool:
        return pool.submit(function, *arguments).result()


def _begin(threads: int) -> None:
    import torch

    end_with_parent()
    torch.set_num_threads(threads)
