"""Visual query tuning against VPT-deep on a ViT-B/16: what a training step keeps for its backward pass, and its time.

The weights and the images are random. What autograd saves is counted, so that row is the same on every machine; the
steps are timed in turns, each method in a process of its own.
"""

from collections.abc import Callable, Iterator
from contextlib import closing

import torch
from rows import Apart, Row, compare

from analysis_lib.core.device import deterministic, reuse_memory
from analysis_lib.studies.petl_memory import Case, Training, saved_mb

CASE = Case(batch_size=4)
OURS, OTHER = "vqt", "vpt_deep"
ROUNDS = 3


def rows() -> Iterator[Row]:
    name = f"{CASE.model}, VQT: VPT-deep"
    ours, other = saved_mb(CASE, OURS), saved_mb(CASE, OTHER)
    yield Row("petl", f"{name}, saved", ours, other, "MB", other / ours, 10.0)
    with closing(Apart(step, OURS)) as first, closing(Apart(step, OTHER)) as second:
        yield compare("petl", f"{name}, step", first, second, 1.5, rounds=ROUNDS)


def step(method: str) -> Callable[[], object]:
    """A training step of a method."""
    deterministic()
    reuse_memory()
    return Training(CASE, method, {}, torch.device("cpu")).step
