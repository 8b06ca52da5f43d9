"""`python -m analysis_lib.report`: fill the pages; with a benchmark, refresh its reference results first."""

import argparse
import sys
from pathlib import Path

from ..core import paths
from ..core.errors import UserError
from .pages import fill
from .reference import keep


def main(arguments: list[str] | None = None) -> int:
    """0 when it worked, 2 with one sentence when the user can mend it."""
    parser = argparse.ArgumentParser(prog="python -m analysis_lib.report", description=__doc__)
    parser.add_argument("benchmark", nargs="?", help="condense this benchmark's results into docs/reference/ first")
    parser.add_argument(
        "--results", type=Path, metavar="FOLDER", help="the project folder that holds them (default: this one)"
    )
    options = parser.parse_args(arguments)
    root = paths.root()
    try:
        if options.benchmark:
            keep(root, options.benchmark, (options.results or root).resolve())
        for page in fill(root):
            print(f"filled {paths.display(page)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
