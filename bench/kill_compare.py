"""What is left after kills: files that differ from those of an undisturbed folder, temporary files, locks, processes.

Of some files less is compared, because they hold times; `LESS` lists them.
"""

import fcntl
import io
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

# where the files of each phase are, in a copy of the project
FOLDERS = {
    "setup": [".venv/lib"],
    "data": ["data"],
    "runs": ["runs"],
    "notebooks": ["derived", "results", "figures", "executed"],
    "site": ["site"],
}
LESS = {
    ".venv/lib": "without compiled code, pip's records, and what names the folder (direct_url.json, __editable__*)",
    "runs": "without the lock files, which are empty and stay",
    "results/*/*_costs.csv": "only the columns method and trainable: the others are seconds and memory",
    "executed/*.ipynb": "sources and outputs of cells, without outputs of cells that measure costs and without live "
    "widgets, whose ids are random, and lines that say that another process was waited for",
    "site": "all of it, with pages that the undisturbed copy builds from the same executed notebooks",
}
WIDGET = "application/vnd.jupyter.widget-view+json"
WAITING = "waiting for another process"
TEMPORARY = ("**/.*.tmp*", "**/.ipynb_checkpoints", "executed/**/.*", "data/packages/tmp*")


@dataclass
class Comparison:
    """How many files and bytes were compared, and the files that differ or that only one side has."""

    files: int = 0
    bytes: int = 0
    differ: list[str] = field(default_factory=list)


def compare(whole: Path, killed: Path, folders: list[str]) -> Comparison:
    """Compare the files in some folders of two project folders."""
    found = Comparison()
    for folder in folders:
        names = {side: set(_names(side, folder)) for side in (whole, killed)}
        found.differ += sorted(names[whole] ^ names[killed])
        for name in sorted(names[whole] & names[killed]):
            ours, theirs = content(killed / name), content(whole / name)
            found.files += 1
            found.bytes += len(ours)
            if ours != theirs:
                found.differ.append(name)
    return found


def _names(root: Path, folder: str) -> list[str]:
    return [
        str(path.relative_to(root))
        for path in (root / folder).rglob("*")
        if path.is_file() and not (folder == ".venv/lib" and _is_of_its_place(path)) and path.suffix != ".lock"
    ]


def _is_of_its_place(path: Path) -> bool:
    """Whether a file of an environment says where it lies, or when it was compiled."""
    return (
        "__pycache__" in path.parts
        or path.name in {"RECORD", "direct_url.json"}
        or path.name.startswith("__editable__")
    )


def content(path: Path) -> bytes:
    """The bytes of a file that must be the same each time."""
    if path.suffix == ".ipynb":
        return json.dumps(_without_times(json.loads(path.read_text()))).encode()
    if path.name.endswith("_costs.csv"):
        return pd.read_csv(io.BytesIO(path.read_bytes()))[["method", "trainable"]].to_csv().encode()
    return path.read_bytes()


def _without_times(notebook: dict) -> list:
    """The sources of a notebook's cells, and their outputs unless they measure costs."""
    cells = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        cells.append((cell["cell_type"], source, [] if "costs(" in source else _outputs(cell.get("outputs", []))))
    return cells


def _outputs(outputs: list[dict]) -> list:
    """A cell's outputs. What is printed counts as one text: how it was cut into pieces depends on the moment."""
    printed, shown = {"stdout": "", "stderr": ""}, []
    for output in outputs:
        if output["output_type"] == "stream":
            printed[output["name"]] += "".join(output["text"])
        else:
            shown.append(output | {"data": WIDGET} if WIDGET in output.get("data", {}) else output)
    lines = [line for text in printed.values() for line in text.splitlines() if not line.startswith(WAITING)]
    return [lines, shown]


def temporary_files(root: Path) -> list[str]:
    """The temporary files in a project folder that nobody will finish."""
    found = {path for pattern in TEMPORARY for path in root.glob(pattern) if ".venv" not in path.parts}
    return sorted(str(path.relative_to(root)) for path in found)


def held_locks(root: Path) -> list[str]:
    """The locks of a project folder that cannot be had at once."""
    held = []
    for path in sorted((root / "runs").glob(".*.lock")):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(path.name)
    return held


def processes_of(mark: str) -> list[int]:
    """The processes whose environment holds the setting `mark`, but this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            settings = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        if mark.encode() in settings and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return sorted(found)


def left_over(root: Path, mark: str, grace: float = 5.0) -> list[str]:
    """Temporary files, held locks and processes that are left of a project folder.

    mark : the variable that is set to the folder in the environment of its processes. grace : seconds that an orphaned
    Jupyter kernel has to notice that its parent is gone.
    """
    end = time.monotonic() + grace
    while (processes := processes_of(f"{mark}={root}")) and time.monotonic() < end:
        time.sleep(0.1)
    return [*temporary_files(root), *held_locks(root), *(f"process {number}" for number in processes)]
