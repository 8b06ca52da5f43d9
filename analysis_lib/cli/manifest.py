"""`manifest`: make a benchmark's manifest again, for maintainers."""

import argparse

from . import data


def add_verb(verbs) -> None:
    """Add the parser of `manifest` to argparse's sub-parsers."""
    verb = verbs.add_parser("manifest", help="for maintainers: make a benchmark's manifest anew")
    verb.add_argument("benchmark", help="digits or emoji")
    verb.set_defaults(act=act)


def act(arguments: argparse.Namespace) -> None:
    """Write the manifest, and print its counts."""
    from ..benchmarks import BENCHMARKS
    from ..core.errors import unknown

    if arguments.benchmark not in BENCHMARKS:
        raise unknown("benchmark with a manifest made here", arguments.benchmark, BENCHMARKS)
    BENCHMARKS[arguments.benchmark].make_manifest()
    data.act(arguments)
