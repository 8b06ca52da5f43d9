"""How long the front door takes to open, beside starting Python and importing torch."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from rows import CEILING, Row, compare

PYTHON, TORCH = ["-c", "pass"], ["-c", "import torch"]
COMMANDS = {
    "import analysis_lib": ["-c", "import analysis_lib"],
    "--help": ["-m", "analysis_lib", "--help"],
    "a mistyped option": ["-m", "analysis_lib", "run", "emoji", "--profle", "x"],
}


def rows() -> Iterator[Row]:
    for title, arguments in COMMANDS.items():
        yield compare("start", f"{title}, python -c pass", _run(arguments), _run(PYTHON), None, CEILING)
        yield compare("start", f"{title}, import torch", _run(arguments), _run(TORCH), 2.0, rounds=3)


def _run(arguments):
    return partial(subprocess.run, [sys.executable, *arguments], capture_output=True, check=False)
