"""What every engine takes and gives: settings, and the outcome of each run."""

from dataclasses import dataclass

import torch

from ...core.errors import UserError
from ...core.resources import share_cores
from ...core.run_spec import RunSpec


@dataclass(frozen=True)
class Settings:
    """How runs are carried out. Raises UserError for a number out of range.

    device : as in `execute`.
    workers : runs side by side. A Ray cluster takes as many as fit on it.
    threads : of each run. Runs with other numbers of threads can differ in their last bits.
    address : of a running Ray cluster; empty for one on this machine.
    gpus : the share of a GPU that Ray reserves for each run.
    """

    device: str = ""
    workers: int = 1
    threads: int = 1
    address: str = ""
    gpus: float = 0.0

    def __post_init__(self):
        for name in ("workers", "threads"):
            if getattr(self, name) < 1:
                raise UserError(f"the number of {name} is {getattr(self, name)}; give 1 or more")
        if not (0 <= self.gpus <= 1 or self.gpus.is_integer() and self.gpus > 0):  # what Ray can reserve
            raise UserError(f"the share of a GPU for each run is {self.gpus}; give 0 to 1, or a whole number")


@dataclass(frozen=True)
class Outcome:
    """A run that has ended, with the error that ended it, or None if it is done."""

    spec: RunSpec
    error: Exception | None = None


def begin_worker(settings: Settings) -> None:
    """Give a worker process its share of the cores."""
    torch.set_num_threads(settings.threads)
    share_cores(settings.workers)


def killed(spec: RunSpec, times: int) -> UserError:
    """The error of a run whose worker process was killed too often."""
    return UserError(
        f"the process of run {spec.run_id} was killed {times} times, as when memory runs out; use fewer workers and "
        "run the same command again, it continues where it stopped"
    )
