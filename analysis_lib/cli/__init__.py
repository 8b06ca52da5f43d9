"""`python -m analysis_lib <verb>`: the steps that `make` strings together, one by one. One file per verb.

A verb imports what it computes with when it acts, so that `--help` and a mistyped option are answered at once.
"""

import argparse
import sys

from ..core.errors import UserError
from . import calibrate, data, manifest, notebook, report, run

VERBS = (data, run, notebook, calibrate, report, manifest)


def parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    top = argparse.ArgumentParser(prog="python -m analysis_lib", description=__doc__.split("\n")[0],
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="verb")
    for verb in VERBS:
        verb.add_verb(verbs)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; 0 when it worked, 2 with one sentence when the user can mend it."""
    parsed = parser().parse_args(arguments)
    try:
        parsed.act(parsed)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command continues where it stopped", file=sys.stderr)
        return 130
    return 0
