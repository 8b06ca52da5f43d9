"""`sweep`: make the runs of a sweep file on an engine, and say how far they are."""

import argparse
from pathlib import Path


def add_verb(verbs) -> None:
    """Add the parser of `sweep` to argparse's sub-parsers."""
    verb = verbs.add_parser(
        "sweep",
        help="make the runs that a sweep file declares, on several processes or a Ray cluster; continues what was "
        "interrupted",
        description="Lists the cells of a sweep with their runs, then makes the runs that are missing. One that fails "
        "stops no other. Every engine gives the same bytes on the same kind of machine. docs/sweeps.md says more.",
    )
    verb.add_argument("file", type=Path, metavar="FILE", help="such as studies/optimizers.json")
    verb.add_argument("--list", action="store_true", help="only list the cells and what is missing")
    verb.add_argument("--benchmark", metavar="NAME", help="(default: what the file says)")
    verb.add_argument("--profile", default="default", help="a profile of the file (default: %(default)s)")
    verb.add_argument("--seeds", help="class splits and training orders, such as 20,21,22 (default: the file's)")
    verb.add_argument("--device", default="", help="cpu, cuda or cuda:N (default: CUDA where there is one)")
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
    verb.set_defaults(act=act)


def act(arguments: argparse.Namespace) -> None:
    """List the sweep, make what is missing, and name what failed."""
    from ..core import processes
    from ..core.errors import UserError
    from ..report.notebooks import parse_integers
    from ..runs.sweep import cell_name, read_sweep, specs_by_cell, starting_runs

    processes.join()
    if arguments.engine != "serial" and processes.share().world > 1:
        raise UserError(f"--engine is {arguments.engine} under torchrun, whose processes share one run; give serial")
    sweep = read_sweep(arguments.file)
    seeds = parse_integers("seeds", arguments.seeds) if arguments.seeds else sweep.seeds
    engine, settings = _engine(arguments)
    benchmark = arguments.benchmark or sweep.benchmark
    if not sweep.is_for(benchmark):
        raise UserError(f"the sweep {arguments.file} is for {', '.join(sweep.only)}; leave --benchmark out")
    if not arguments.list:
        for outcome in engine(starting_runs(sweep, benchmark, arguments.profile), settings):
            if outcome.error:
                raise outcome.error
    by_cell = specs_by_cell(sweep, benchmark, arguments.profile, seeds)
    _show(sweep, by_cell, settings)
    if not arguments.list:
        names = {spec: f"{cell_name(cell)}, seed={spec.seed}" for cell, specs in by_cell.items() for spec in specs}
        _make(names, engine, settings)


def _show(sweep, by_cell, settings) -> None:
    """Print what the sweep asks, how far each cell is, and how long the rest takes."""
    from ..runs.states import seconds_left
    from ..runs.sweep import cell_name

    print(sweep.title)
    if sweep.question:
        print(sweep.question)
    for cell, specs in by_cell.items():
        print(f"  {cell_name(cell)}: {_counted(specs)}")
    every = list(dict.fromkeys(spec for specs in by_cell.values() for spec in specs))
    print(f"{len(every)} runs: {_counted(every)}; {_time(seconds_left(every, settings.workers))}", flush=True)


def _make(names, engine, settings) -> None:
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
        left = _time(seconds_left([each for each in names if each not in failed], settings.workers))
        print(f"{done}/{len(names)} {names[spec]} {'failed' if outcome.error else spec.run_id}; {left}", flush=True)
    for spec, reason in failed.items():
        print(f"failed: {names[spec]} ({spec.run_id}): {reason}", flush=True)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(names)} runs failed and all others are done; the first, {next(iter(failed)).run_id}"
            f", with: {next(iter(failed.values()))}"
        )


def _engine(arguments: argparse.Namespace):
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


def _counted(specs) -> str:
    from ..runs.states import count_states

    return ", ".join(f"{number} {name}" for name, number in count_states(list(specs)).items())


def _time(seconds: float | None) -> str:
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
