"""`python -m analysis_lib <verb>`: the steps that `make` strings together, one by one. One file per verb.

A verb imports its libraries only when it runs, so `--help` and a mistyped option are answered at once.
"""

import argparse
import logging
import os
import signal
import sys

from ..core.errors import UserError
from . import calibrate, data, finetune, manifest, notebook, report, run, sweep, vtab1k

VERBS = (data, run, sweep, vtab1k, notebook, finetune, calibrate, report, manifest)


class _Parser(argparse.ArgumentParser):
    """A parser that raises its errors as every other mistake of the user's."""

    def error(self, message: str):
        """Raise UserError."""
        raise UserError(f"{message}; see `{self.prog} --help`")


def parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    top = _Parser(
        prog="python -m analysis_lib",
        description=__doc__.split("\n")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="verb")
    for verb in VERBS:
        verb.add_verb(verbs)
    return top


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends the program as Ctrl-C does, so that what it started ends too and nothing half-written stays."""


def main(arguments: list[str] | None = None) -> int:
    """Run one verb.

    Returns 0 for success, 2 after an error that the user can fix, and what shells give to a program that a signal ends:
    130 after Ctrl-C, 143 after SIGTERM, and 141 where the reader of its output has gone, as `head` does.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background job ignores Ctrl-C
        signal.signal(signal.SIGINT, _interrupt)
    try:
        parsed = parser().parse_args(arguments)
        parsed.act(parsed)
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interruption:
        print("interrupted; the same command continues where it stopped", file=sys.stderr)
        return 143 if isinstance(interruption, Terminated) else 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains again when it ends
        return 141
    return 0


def _interrupt(number: int, _) -> None:
    logging.disable()  # else libraries tell at length what was cut off
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
