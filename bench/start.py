"""How long the front door takes to open, in seconds: the best of several processes."""

import subprocess
import sys
from functools import partial

from timing import best_of

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import analysis_lib": ["-c", "import analysis_lib"],
    "python -m analysis_lib --help": ["-m", "analysis_lib", "--help"],
    "a mistyped option": ["-m", "analysis_lib", "run", "emoji", "--profle", "x"],
    "import torch": ["-c", "import torch"],
}

for title, arguments in COMMANDS.items():
    command = partial(subprocess.run, [sys.executable, *arguments], capture_output=True, check=False)
    seconds = best_of(5, command)
    print(f"{title:32} {seconds:.3f} s")
