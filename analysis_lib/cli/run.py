"""`run`: make the runs that the studies declare."""

import argparse

from .data import BENCHMARK


def add_verb(verbs) -> None:
    """Add the parser of `run` to argparse's sub-parsers."""
    verb = verbs.add_parser(
        "run", help="make the fine-tuning runs that the studies of a benchmark need; continues what was interrupted"
    )
    verb.add_argument("benchmark", help=BENCHMARK)
    verb.add_argument(
        "--profile",
        default="default",
        help="smoke, default, full, or paper where the benchmark is the paper's (default: %(default)s)",
    )
    verb.add_argument("--seeds", default="20,21,22", help="class splits and training orders (default: %(default)s)")
    verb.add_argument("--device", default="", help="cpu, cuda or cuda:N (default: CUDA where there is one)")
    verb.add_argument(
        "--processes", type=int, default=1, help="CPU processes side by side; each gets its share of the cores"
    )
    verb.add_argument(
        "--studies", default="", metavar="NAMES", help="only these studies, separated by commas (default: all)"
    )
    verb.add_argument(
        "--memory-budget",
        metavar="SIZE",
        help="image files that decoded exceed it, such as 8G, are streamed from disk (default: FTC_MEMORY_BUDGET, or a "
        "quarter of the memory)",
    )
    verb.set_defaults(act=act)


def act(arguments: argparse.Namespace) -> None:
    """Make the union of the studies' runs, and print the folder of each finished run."""
    from ..core import paths, processes
    from ..core.errors import UserError
    from ..core.resources import set_memory_budget
    from ..report.notebooks import parse_integers
    from ..studies import STUDIES, make_runs

    processes.join()
    names = arguments.studies.split(",") if arguments.studies else list(STUDIES)
    seeds = parse_integers("seeds", arguments.seeds)
    if arguments.memory_budget:
        set_memory_budget(arguments.memory_budget)
    if arguments.processes < 1:
        raise UserError(f"--processes is {arguments.processes}; give 1 or more")
    if arguments.processes > 1 and processes.share().world > 1:
        raise UserError(
            f"--processes is {arguments.processes} under torchrun, whose processes share one run; leave it out"
        )
    for spec in make_runs(names, arguments.benchmark, arguments.profile, seeds, arguments.device, arguments.processes):
        print(paths.display(paths.run(spec.run_id)), flush=True)
