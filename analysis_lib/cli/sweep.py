"""`sweep`: make the runs of a sweep file on an engine, and say how far they are."""

import argparse
from pathlib import Path

from .many_runs import add_engine, counted, make_missing, pick_engine, time_left


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
    add_engine(verb)
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
    engine, settings = pick_engine(arguments)
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
        make_missing(names, engine, settings)


def _show(sweep, by_cell, settings) -> None:
    """Print what the sweep asks, how far each cell is, and how long the rest takes."""
    from ..runs.states import seconds_left
    from ..runs.sweep import cell_name

    print(sweep.title)
    if sweep.question:
        print(sweep.question)
    for cell, specs in by_cell.items():
        print(f"  {cell_name(cell)}: {counted(specs)}")
    every = list(dict.fromkeys(spec for specs in by_cell.values() for spec in specs))
    print(f"{len(every)} runs: {counted(every)}; {time_left(seconds_left(every, settings.workers))}", flush=True)
