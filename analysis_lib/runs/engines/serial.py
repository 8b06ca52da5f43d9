"""One run after another, in this process."""

from collections.abc import Iterator, Sequence

import torch

from ...core.run_spec import RunSpec
from ..execute import execute
from .engine import Outcome, Settings


def run(specs: Sequence[RunSpec], settings: Settings) -> Iterator[Outcome]:
    """Execute runs in their order. The threads of this process are set for each run, and set back after it."""
    for spec in specs:
        yield Outcome(spec, _error(spec, settings))


def _error(spec: RunSpec, settings: Settings) -> Exception | None:
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        execute(spec, settings.device)
    except Exception as error:  # noqa: BLE001 (whatever it is, the next run begins)
        return error
    finally:
        torch.set_num_threads(threads)
    return None
