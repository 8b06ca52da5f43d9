"""`manifest <benchmark>`: make the manifest of one of our benchmarks again, for maintainers."""

import argparse

from .. import data

MADE_HERE = ("digits", "emoji", "emoji_years", "glyphs", "glyphs_display", "glyphs_vit")


def add_action(actions) -> None:
    """Add a parser for each benchmark whose manifest is made here."""
    for name in MADE_HERE:
        action = actions.add_parser(name, help=f"for maintainers: make the manifest of {name} again")
        action.set_defaults(act=act, benchmark=name)


def act(arguments: argparse.Namespace) -> None:
    """Write the manifest, and print its counts."""
    from ...benchmarks import BENCHMARKS

    BENCHMARKS[arguments.benchmark].make_manifest()
    data.act(arguments)
