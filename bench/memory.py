"""The peak memory of every analysis on Outputs of the size of ImageNet-Sketch, each step in a process of its own.

python bench/memory.py                                        # minutes, and 3 GB of disk while it runs
python bench/memory.py --scale 0.1 --only "linear probe,CKA"  # a quick look
python bench/memory.py --output docs/reference/memory.csv     # for maintainers: the table that docs/large_data.md shows

Seconds are those of the processor, so that other work beside it does not count. Two networks have random Outputs on as
many training as test images. Solvers stop after a few iterations: how many they take changes their time, not their
memory.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from memory_steps import STEPS, Data
from rows import Row

N, CLASSES, FEATURES = 50_000, 1_000, 2_048
LIMIT = 4_000  # MB
COLUMNS = ["step", "n", "classes", "features", "seconds", "peak_mb"]
SMALL = 0.1  # share of the images in the table of `make bench`
CHOSEN = ["seen-absent curve and AUSUC", "class means and NCM", "softmax decomposition"]  # in which little is fixed


def rows() -> Iterator[Row]:
    """Peaks of some steps on a small share of the images, beside the same share of the limit above the imports."""
    with tempfile.TemporaryDirectory() as folder:
        run_step("write Outputs", SMALL, folder)
        for name in CHOSEN:
            found = run_step(name, SMALL, folder)
            allowed = found["imports_mb"] + SMALL * (LIMIT - found["imports_mb"])
            peak = found["peak_mb"]
            yield Row("memory", f"{name}, N={found['n']:,}: limit", peak, allowed, "MB", allowed / peak, 1.0)


def run_step(name: str, scale: float, folder: str) -> dict:
    """What one step took, in a process of its own."""
    command = [sys.executable, __file__, "--scale", str(scale), "--step", name, "--folder", folder]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="share of the images (default: all)")
    parser.add_argument("--only", default="", metavar="STEPS", help="only these steps, separated by commas")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table as CSV, or as JSON")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main(arguments):
    """Every step in a new process, one after another; a child's peak is at least this process's size, the imports."""
    names = arguments.only.split(",") if arguments.only else list(STEPS)
    rows = []
    print(f"{'step':<44}{'seconds':>9}{'peak MB':>9}   (limit {LIMIT:,} MB)", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in ["write Outputs", *(name for name in names if name != "write Outputs")]:
            found = run_step(name, arguments.scale, folder)
            rows.append({column: found[column] for column in COLUMNS})
            over = "   over the limit" if found["peak_mb"] > LIMIT else ""
            print(f"{name:<44}{found['seconds']:>9.1f}{found['peak_mb']:>9,}{over}", flush=True)
    if arguments.output:
        arguments.output.write_text(as_text(rows, arguments.output.suffix))
    return int(any(row["peak_mb"] > LIMIT for row in rows))


def measure(arguments):
    """One step in this process: what it took, as JSON."""
    n = round(arguments.scale * N)
    data = Data(arguments.folder, n, CLASSES, FEATURES)
    imports = peak_mb()
    begin = time.process_time()
    STEPS[arguments.step](data)
    seconds = time.process_time() - begin
    numbers = (arguments.step, n, CLASSES, FEATURES, round(seconds, 1), peak_mb())
    print(json.dumps(dict(zip(COLUMNS, numbers)) | {"imports_mb": imports}))


def peak_mb() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)  # KiB on Linux


def as_text(rows, suffix):
    if suffix == ".json":
        return json.dumps(rows, indent=1) + "\n"
    return "".join(",".join(map(str, line)) + "\n" for line in [COLUMNS, *(row.values() for row in rows)])


if __name__ == "__main__":
    parsed = parse()
    sys.exit(measure(parsed) if parsed.step else main(parsed))
