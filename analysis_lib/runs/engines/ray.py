"""Tasks of Ray: on this machine, or on a cluster that is running already.

On a cluster every node needs this package, and the project folder in a file system that all nodes share.
"""

import os
import socket
from collections.abc import Iterator, Sequence

import torch

from ...core import paths
from ...core.errors import UserError
from ...core.resources import BUDGET
from ...core.run_spec import RunSpec
from ..execute import execute
from .engine import Outcome, Settings, begin_worker, killed

RETRIES = 3  # of a run whose process was killed
STORE = 10**8  # bytes of Ray's own memory, in which only specs travel
SWITCHES = {  # of Ray, read when it is imported
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a run that reserves no GPU may still see it
    "RAY_raylet_start_wait_time_s": "180",  # a busy machine starts slowly
    "RAY_USAGE_STATS_ENABLED": "0",  # send nothing
}
PASSED_ON = ("PYTHONPATH", BUDGET)


def run(specs: Sequence[RunSpec], settings: Settings) -> Iterator[Outcome]:
    """Execute runs, and yield each in the order in which they end. Closed early or interrupted, it ends those that run.

    Raises UserError where Ray is not installed, for an address where none answers, and where this machine lacks the
    GPUs.
    """
    if not settings.address and settings.gpus > torch.cuda.device_count():
        raise UserError(f"this machine has no GPU of which each run could have {settings.gpus:g}; leave the share at 0")
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise UserError(
            "the engine ray needs a package that is not installed; run `pip install --constraint constraints.txt "
            "--editable '.[ray]'`"
        ) from None
    try:
        _connect(settings)
        task = ray.remote(num_cpus=settings.threads, num_gpus=settings.gpus, max_retries=RETRIES)(_execute)
        waiting = {task.remote(spec, settings): spec for spec in specs}
        while waiting:
            (ended,), _ = ray.wait(list(waiting))
            spec = waiting.pop(ended)
            yield Outcome(spec, _error(ended, spec))
    finally:
        ray.shutdown()


def _connect(settings: Settings) -> None:
    """Connect this process to the cluster, or start one here. Raises UserError as `run`."""
    import ray

    variables = {"FTC_ROOT": str(paths.root()), "OMP_NUM_THREADS": str(settings.threads)}
    variables |= {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    shared = {"runtime_env": {"env_vars": variables}, "log_to_driver": False, "logging_level": "ERROR"}
    if settings.address:
        host, _, port = settings.address.rpartition(":")
        try:
            if port.isdecimal():  # Ray itself tries for many minutes
                socket.create_connection((host.rpartition("/")[2], int(port)), timeout=30).close()
            ray.init(settings.address, **shared)
        except (OSError, OverflowError, ray.exceptions.AuthenticationError):
            raise UserError(
                f"no Ray cluster answers at {settings.address!r}; start one with `ray start --head` and give the "
                "address that it prints, and set RAY_AUTH_MODE=token if it asks for a token"
            ) from None
        return
    cores = settings.workers * settings.threads
    ray.init("local", num_cpus=cores, include_dashboard=False, object_store_memory=STORE, **shared)


def _execute(spec: RunSpec, settings: Settings) -> None:
    begin_worker(settings)
    execute(spec, settings.device)


def _error(ended, spec: RunSpec) -> Exception | None:
    """The error that ended a task, as it was raised in its process."""
    from ray import exceptions, get

    try:
        get(ended)
    except exceptions.RayTaskError as error:
        return error.cause
    except exceptions.RayError:
        return killed(spec, RETRIES + 1)
    return None
