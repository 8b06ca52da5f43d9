"""`notebook`: execute one notebook with other parameters."""

import argparse
from pathlib import Path


def add_verb(verbs) -> None:
    """Add the parser of `notebook` to argparse's sub-parsers."""
    verb = verbs.add_parser("notebook", help="execute a notebook into executed/<benchmark>/")
    verb.add_argument("file", help="a notebook, such as notebooks/01_fine_tuning.ipynb")
    verb.add_argument(
        "settings",
        nargs="*",
        metavar="name=value",
        help="values for its parameters cell, such as benchmark=emoji seeds=0,1,2",
    )
    verb.set_defaults(act=act)


def act(arguments: argparse.Namespace) -> None:
    """Execute the notebook and print where it went."""
    from ..benchmarks import recipe
    from ..benchmarks.manifest import load_head
    from ..core import paths
    from ..report import notebooks

    source = Path(arguments.file).resolve()
    values = notebooks.parse_settings(arguments.settings, notebooks.parameters_of(source))
    chosen = notebooks.parameters_of(source) | values
    benchmark = chosen.get("benchmark", "any")
    if "benchmark" in chosen:
        load_head(benchmark)
    if "profile" in chosen:
        recipe(benchmark, chosen["profile"])
    output = paths.executed_notebook(benchmark, source.stem)
    notebooks.run_notebook(source, output, arguments.settings)
    print(paths.display(output))
