"""Kill a whole reproduction at random moments, again and again, and compare its files with undisturbed ones.

    python bench/kill_test.py                                   # at least 100 kills, about half an hour on 2 idle cores
    python bench/kill_test.py --kills 10 --phases runs,site     # a short one

Two clones of this checkout are made (what is not committed is left out). In one, each phase runs undisturbed. In the
other the same commands are killed, SIGKILL to the whole process group, started again at once, and in the end left to
finish. Then every file of both is compared, and no temporary file, held lock or process may be left. A phase that ends
before its kills are spent loses its results and begins anew. Needs git, make, flock, npm and the network.
"""

import argparse
import csv
import glob
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kill_compare import FOLDERS, LESS, compare, left_over

REPOSITORY = Path(__file__).resolve().parent.parent
MARK = "KILL_TEST"  # in the environment of all processes of the killed copy
SETTINGS = "BENCHMARK=digits PROFILE=smoke SEEDS=20 DEVICE=cpu"


@dataclass(frozen=True)
class Phase:
    """A part of the reproduction.

    command : of a shell in the copy. share : of all kills. reach : kills come at a moment up to this part of the
    undisturbed time. results : patterns of what is removed so that the phase begins anew.
    """

    command: str
    share: float
    reach: float
    results: tuple[str, ...]


PHASES = {
    "setup": Phase("make setup", 0.03, 1.0, (".venv/ready",)),
    "data": Phase(".venv/bin/python -m analysis_lib data emoji", 0.2, 0.7, ("data/emoji-*", "data/packages/*n*.tgz")),
    "runs": Phase(f"make runs {SETTINGS}", 0.45, 0.25, ("runs/digits-*", "executed/digits/runs")),
    "notebooks": Phase(f"make --jobs=2 reproduce {SETTINGS}", 0.25, 0.25, ("executed/digits/*.ipynb",)),
    "site": Phase("make site BENCHMARK=digits", 0.07, 1.0, ("site",)),
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, metavar="N", help="in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments (default: %(default)s)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir()) / "kill_test",
        help="new or empty, for both copies, 6 GB (default: %(default)s)",
    )
    parser.add_argument(
        "--phases", default=",".join(PHASES), metavar="NAMES", help="that are killed; the others just run: %(default)s"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="a CSV with a row for each phase")
    arguments = parser.parse_args()
    unknown = sorted({*arguments.phases.split(",")} - {*PHASES})
    if unknown:
        parser.error(f"there is no phase {unknown[0]!r}; choose from {', '.join(PHASES)}")
    if arguments.folder.exists() and any(arguments.folder.iterdir()):
        parser.error(f"{arguments.folder} is not empty; remove it or name another --folder")
    return arguments


def start(command: list[str], copy: Path, log: Path, environment: dict[str, str]) -> subprocess.Popen:
    """Start a command in a copy as a process group of its own; what it prints goes to the end of a log."""
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            cwd=copy,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def kill_group(process: subprocess.Popen) -> None:
    """SIGKILL to the process and its whole group."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def killed_at(command: list[str], copy: Path, log: Path, delay: float, environment: dict[str, str]) -> str | None:
    """Start a command and kill its group after some seconds: what it was doing, or None if it ended before."""
    before = len(lines(log))
    process = start(command, copy, log, environment)
    try:
        code = process.wait(delay)
    except subprocess.TimeoutExpired:
        kill_group(process)
        printed = lines(log)[before:]
        return printed[-1] if printed else "starting"
    if code:
        sys.exit(failure(command, copy, log))
    return None


def failure(command: list[str], copy: Path, log: Path) -> str:
    """The error message for a command that failed, with the last lines of its log."""
    return "\n".join([f"error: `{' '.join(command)}` failed in {copy}; the end of {log}:", *lines(log)[-20:]])


def environment_of(copy: Path) -> dict[str, str]:
    """The environment of all commands in a copy: one thread, the copy's own package, and its mark."""
    settings = os.environ | {"OMP_NUM_THREADS": "1", MARK: str(copy)}
    settings.pop("PYTHONPATH", None)
    return settings


def run_whole(command: str, copy: Path, log: Path) -> float:
    """Run a command to its end and return the seconds. Exits with its last lines if it fails."""
    begin, words = time.monotonic(), command.split()
    if start(words, copy, log, environment_of(copy)).wait():
        sys.exit(failure(words, copy, log))
    return time.monotonic() - begin


def lines(log: Path) -> list[str]:
    """The lines of a log, without empty ones and pip's warnings."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return [line for line in text.splitlines() if line.strip() and not line.startswith("WARNING")]


def kill(phase: Phase, copy: Path, log: Path, kills: int, longest: float, moments: random.Random) -> Iterator[str]:
    """Kill a phase so many times at random moments of at most `longest` seconds, and yield a line for each kill."""
    while kills:
        delay = moments.uniform(0, longest)
        doing = killed_at(phase.command.split(), copy, log, delay, environment_of(copy))
        if doing is None:
            for pattern in phase.results:
                remove(copy, pattern)
            continue
        kills -= 1
        yield f"after {delay:5.1f} s: {doing[:100]}"


def remove(root: Path, pattern: str) -> None:
    """Remove the files and folders of a pattern below `root`."""
    for name in glob.glob(pattern, root_dir=root):
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def shares(names: list[str], kills: int) -> dict[str, int]:
    """The kills of each phase: their shares, rounded up, so that every phase that is named has one at least."""
    total = sum(PHASES[name].share for name in names)
    return {name: -int(-kills * PHASES[name].share // total) if name in names else 0 for name in PHASES}


def main(arguments: argparse.Namespace) -> int:
    """Make both copies, kill, compare and print. Returns the exit code: 1 if anything differs or is left."""
    whole, killed = arguments.folder / "whole", arguments.folder / "killed"
    for copy in (whole, killed):
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(copy)], check=True)
    moments = random.Random(arguments.seed)
    kills = shares(arguments.phases.split(","), arguments.kills)
    for name, phase in PHASES.items():
        seconds = run_whole(phase.command, whole, arguments.folder / "whole.log")
        print(f"{name}: {seconds:.0f} s undisturbed", flush=True)
        log = arguments.folder / f"{name}.log"
        longest = max(2.0, phase.reach * seconds)
        for number, line in enumerate(kill(phase, killed, log, kills[name], longest, moments), start=1):
            print(f"{name} {number}/{kills[name]} {line}", flush=True)
        print(f"{name}: ended in {run_whole(phase.command, killed, log):.0f} s more", flush=True)
    left = left_over(killed, MARK)
    rows = compare_all(whole, killed, kills, arguments.folder / "whole.log")
    print("\ncompared less:", *(f"  {name}: {why}" for name, why in LESS.items()), sep="\n")
    for row in rows:
        print(
            f"{row['phase']}: {row['kills']} kills, {row['files']} files, {row['bytes']} bytes, {row['differ']} differ"
        )
    print(f"{sum(kills.values())} kills survived" if not left else "left over: " + ", ".join(left))
    if arguments.output:
        with arguments.output.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(row | {"left": len(left)} for row in rows)
    return int(bool(left) or any(row["differ"] for row in rows))


def compare_all(whole: Path, killed: Path, kills: dict[str, int], log: Path) -> list[dict]:
    """A row for each phase. The site is built once more in the undisturbed copy, from the other's notebooks."""
    rows = []
    for name, folders in FOLDERS.items():
        if name == "site":
            shutil.rmtree(whole / "executed")
            shutil.copytree(killed / "executed", whole / "executed")
            run_whole(".venv/bin/python docs/site/build.py digits", whole, log)
        found = compare(whole, killed, folders)
        for path in found.differ:
            print(f"{name}: {path} differs", flush=True)
        count = {"files": found.files, "bytes": found.bytes, "differ": len(found.differ)}
        rows.append({"phase": name, "kills": kills[name]} | count | {"left": 0})
    return rows


if __name__ == "__main__":
    sys.exit(main(parse()))
