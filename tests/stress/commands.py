"""Commands as users start them: in a project folder of their own, in a terminal that can interrupt them."""

import importlib
import os
import select
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "bench"))  # which is no package
kill_compare, kill_test = map(importlib.import_module, ("kill_compare", "kill_test"))

PROGRAM = [sys.executable, "-m", "analysis_lib"]
RUN = ["run", "digits", "--profile", "smoke", "--seeds", "0", "--device", "cpu", "--studies", "accuracy"]
NOTEBOOK = ["notebook", str(REPOSITORY / "notebooks" / "01_fine_tuning.ipynb"), "benchmark=digits", "profile=smoke"]
NOTEBOOK += ["seeds=0", "device=cpu"]
# what make looks at in a copy of the checkout
MAKEFILE = ("Makefile", "pyproject.toml", "constraints.txt", "requirements")
PACKAGE = ("analysis_lib", "notebooks", "data_manifests", "studies")
CTRL_C = b"\x03"
MARK = "STRESS_TEST"  # in the environment of a command and of all that it starts


def copy(names: tuple[str, ...], folder: Path) -> None:
    """Copy files and folders of the checkout, with their dates."""
    for name in names:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder)


def environment(root: Path) -> dict[str, str]:
    """The environment of a command on a project folder: this checkout's package, one thread."""
    added = {"FTC_ROOT": str(root), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", MARK: str(root)}
    return os.environ | added


def program(root: Path, arguments: list, **options) -> subprocess.CompletedProcess:
    """Run the program to its end, without a terminal."""
    command = [*PROGRAM, *map(str, arguments)]
    return subprocess.run(command, env=environment(root), capture_output=True, text=True, check=False, **options)


@dataclass(frozen=True)
class Ended:
    """What a command printed in its terminal, and its exit code as a shell tells it."""

    text: str
    code: int

    @property
    def after_interruption(self) -> str:
        """What was printed after the moment of the interruption, without the terminal's echo of Ctrl-C."""
        return self.text.rpartition(MOMENT)[2].replace("^C", "").replace("\r", "\n").strip()


MOMENT = "\0the interruption\0"


def interrupted(command: list, root: Path, by: str, has_come, folder: Path = REPOSITORY) -> Ended:
    """Start a command in a terminal of its own, and interrupt it by `Ctrl-C` or `SIGTERM` at a moment.

    has_come : from the text printed so far to whether the moment is here. AssertionError if the command ends before.
    """
    master, slave = os.openpty()
    process = subprocess.Popen(
        # tests in the background of a shell ignore Ctrl-C, and so would the command
        ["env", "--default-signal=INT", "setsid", "--ctty", *map(str, command)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(root),
        cwd=folder,
    )
    os.close(slave)
    text, waiting = "", True
    while (part := _read(master)) is not None:
        text += part
        if waiting and has_come(text):
            waiting, text = False, text + MOMENT
            os.write(master, CTRL_C) if by == "Ctrl-C" else process.send_signal(signal.SIGTERM)
    os.close(master)
    code = process.wait()
    assert not waiting, f"it ended before the moment came: {text}"
    return Ended(text, 128 - code if code < 0 else code)


def _read(master: int) -> str | None:
    """What a terminal has to show now; None once nobody writes to it any more."""
    if not select.select([master], [], [], 0.02)[0]:
        return ""
    try:
        return os.read(master, 65536).decode(errors="replace") or None
    except OSError:  # the last writer has closed it
        return None


def left_over(root: Path) -> list[str]:
    """Temporary files, held locks and processes that commands on a project folder have left."""
    return kill_compare.left_over(root, MARK)


def contents(root: Path) -> dict[str, bytes]:
    """The runs, results, figures and executed notebooks of a project folder, as far as they are the same each time."""
    folders = ("runs", "derived", "results", "figures", "executed", "data")
    found = (path for folder in folders for path in (root / folder).rglob("*"))
    files = [path for path in found if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(root)): kill_compare.content(path) for path in files}
