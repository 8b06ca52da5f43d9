"""`report`: print the summary of a benchmark."""

import argparse

from .data import BENCHMARK


def add_verb(verbs) -> None:
    """Add the parser of `report` to argparse's sub-parsers."""
    verb = verbs.add_parser("report", help="print the summary that notebook 05 wrote")
    verb.add_argument("benchmark", help=BENCHMARK)
    verb.set_defaults(act=act)


def act(arguments: argparse.Namespace) -> None:
    """Print mean, standard deviation and n of every metric of each network compared."""
    from ..benchmarks.manifest import load_head
    from ..core import files, paths
    from ..core.errors import UserError
    from ..runs.run_set import BATCHNORM_ONLY, FINE_TUNED, PRE_TRAINED

    load_head(arguments.benchmark)
    summary = files.read_table(arguments.benchmark, "summary_mean")
    if lacking := [name for name in ("metric", "checkpoint", "mean", "std", "n") if name not in summary]:
        where = paths.display(paths.table(arguments.benchmark, "summary_mean"))
        raise UserError(f"{where} has no column {lacking[0]!r}; delete it and run `make reproduce` again")
    texts = []
    for row in summary.itertuples():
        spread = f" ± {row.std:.3f}" if row.n > 1 else ""
        texts.append(f"{row.mean:.3f}{spread} (n={row.n})")
    summary["text"] = texts
    wide = summary.pivot(index="metric", columns="checkpoint", values="text")[[PRE_TRAINED, BATCHNORM_ONLY, FINE_TUNED]]
    print(wide.to_string(na_rep="-"))
