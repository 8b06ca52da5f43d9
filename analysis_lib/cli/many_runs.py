"""Many runs of a verb: the options of an engine, the runs that are missing, and how far all are."""

import argparse


def add_engine(verb: argparse.ArgumentParser) -> None:
    """Add --engine, --workers, --threads, --address and --gpus-per-run."""
    engine = verb.add_argument_group("engine")
    engine.add_argument(
        "--engine",
        default="processes",
        metavar="NAME",
        help="serial, one run after another; processes, on this machine; or ray (default: %(default)s)",
    )
    engine.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="runs side by side (default: as many as there are cores, and 1 on a GPU); the engine serial has one, a "
        "cluster takes as many as fit and only the estimate of the time uses N",
    )
    engine.add_argument(
        "--threads", type=int, default=1, metavar="N", help="CPU threads of each run (default: %(default)s)"
    )
    engine.add_argument(
        "--address", default="", help="of a running Ray cluster, or auto (default: Ray on this machine alone)"
    )
    engine.add_argument(
        "--gpus-per-run",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="what Ray reserves of a GPU for each run, such as 0.25: four runs then share one",
    )


def make_missing(names, engine, settings) -> None:
    """Make the runs that are missing, one line for each. names : of all runs. Raises UserError if any failed."""
    from ..core import processes
    from ..core.errors import UserError
    from ..runs.execute import state
    from ..runs.states import seconds_left

    failed = {}
    for outcome in engine([spec for spec in names if state(spec.run_id) != "done"], settings):
        spec = outcome.spec
        if outcome.error:
            failed[spec] = _reason(outcome.error)
            if processes.share().world > 1:  # the others would not know, and wait for ever
                raise outcome.error
        done = sum(state(each.run_id) == "done" for each in names)
        left = time_left(seconds_left([each for each in names if each not in failed], settings.workers))
        print(f"{done}/{len(names)} {names[spec]} {'failed' if outcome.error else spec.run_id}; {left}", flush=True)
    for spec, reason in failed.items():
        print(f"failed: {names[spec]} ({spec.run_id}): {reason}", flush=True)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(names)} runs failed and all others are done; the first, {next(iter(failed)).run_id}"
            f", with: {next(iter(failed.values()))}"
        )


def pick_engine(arguments: argparse.Namespace):
    """The engine with its settings. Raises UserError for an unknown one, a bad number and a device that is not here."""
    from ..core.device import pick_device
    from ..core.errors import UserError, unknown
    from ..core.resources import cores
    from ..runs.engines import ENGINES, Settings

    if arguments.engine not in ENGINES:
        raise unknown("engine", arguments.engine, ENGINES)
    if arguments.engine != "ray" and (arguments.address or arguments.gpus_per_run):
        raise UserError("--address and --gpus-per-run are for Ray; add --engine ray, or leave them out")
    on_gpu = not arguments.address and pick_device(arguments.device).type != "cpu" and not arguments.gpus_per_run
    workers = max(1, cores() // max(1, arguments.threads)) if arguments.workers is None else arguments.workers
    if arguments.engine == "serial" or on_gpu and arguments.workers is None:
        workers = 1
    settings = Settings(arguments.device, workers, arguments.threads, arguments.address, arguments.gpus_per_run)
    return ENGINES[arguments.engine], settings


def counted(specs) -> str:
    """How many of the runs are done, partial and missing."""
    from ..runs.states import count_states

    return ", ".join(f"{number} {name}" for name, number in count_states(list(specs)).items())


def time_left(seconds: float | None) -> str:
    """The time that `runs.states.seconds_left` found, in words."""
    if seconds is None:
        return "the time is known once a run is done"
    if not seconds:
        return "nothing left to make"
    if seconds < 90:
        return "about a minute left"
    return f"about {seconds / 60:.0f} minutes left" if seconds < 7200 else f"about {seconds / 3600:.0f} hours left"


def _reason(error: Exception) -> str:
    """One line: the sentence of a user's mistake, or the type and the first line of another error."""
    from ..core.errors import UserError

    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}".splitlines()[0]
