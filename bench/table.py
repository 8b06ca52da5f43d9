"""Speed and memory as one table: every figure is a ratio, measured in one run, beside the least that is acceptable.

    python bench/table.py                          # under 6 minutes on 2 idle cores
    python bench/table.py --only curve,metrics     # some areas

Each area is a module of this folder with `rows()`, and runs in a process of its own. The rows, and what they were made
on, are written as JSON too. The exit code is 1 if a ratio is below its limit.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rows import Row

AREAS = ["start", "curve", "metrics", "gradients", "memory", "extraction", "training", "cpu_path", "petl"]
WIDTHS = "{:<10} {:<46} {:>8} {:>8} {:<8} {:>8} {:>6}  {:<5}{}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", metavar="AREAS", default=",".join(AREAS), help="separated by commas: %(default)s")
    parser.add_argument("--output", type=Path, metavar="FILE", default=Path("bench.json"), help="default: %(default)s")
    parser.add_argument("--area", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = sorted({*arguments.only.split(",")} - {*AREAS})
    if unknown:
        parser.error(f"there is no area {unknown[0]!r}; choose from {', '.join(AREAS)}")
    return arguments


def main(areas: list[str], output: Path) -> int:
    """Print every row as it arrives, write the JSON, and return the exit code."""
    print(WIDTHS.format("area", "what", "ours", "other", "unit", "ratio", "limit", "ok", ""), flush=True)
    rows, seconds, failed = [], {}, []
    for area in areas:
        begin = time.perf_counter()
        for row in measured(area, failed):
            rows.append(row)
            print(line(row), flush=True)
        seconds[area] = round(time.perf_counter() - begin, 1)
    below = [row.name for row in rows if not row.ok]
    output.write_text(json.dumps({"made_on": made_on(), "seconds": seconds, "rows": [*map(as_json, rows)]}, indent=1))
    print(f"{len(rows)} rows in {sum(seconds.values()) / 60:.1f} minutes, {len(below)} below the limit; see {output}")
    for area in failed:
        print(f"error: the area {area} failed; its message is above", file=sys.stderr)
    return int(bool(below or failed))


def measured(area: str, failed: list[str]) -> Iterator[Row]:
    """The rows of an area, each as its process prints it; an area that fails is noted in `failed`."""
    command = [sys.executable, __file__, "--area", area]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"TQDM_DISABLE": "1"}) as child:
        for text in child.stdout:
            yield Row(**json.loads(text))
    if child.returncode:
        failed.append(area)


def measure(area: str) -> None:
    """Print the rows of an area as lines of JSON."""
    for row in importlib.import_module(area).rows():
        print(json.dumps(asdict(row)), flush=True)


def line(row: Row) -> str:
    limit, ok = ("", "") if row.limit is None else (f"{row.limit:g}", "yes" if row.ok else "NO")
    figures = [*map(short, (row.ours, row.other)), row.unit, short(row.ratio)]
    return WIDTHS.format(row.area, row.name, *figures, limit, ok, row.note).rstrip()


def short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def as_json(row: Row) -> dict:
    return asdict(row) | {"ok": row.ok}


def made_on() -> dict:
    """Processor, cores, threads and versions."""
    import torch

    from analysis_lib.core.device import versions
    from analysis_lib.report.reference import machine

    return machine() | {"threads": torch.get_num_threads(), "versions": versions()}


if __name__ == "__main__":
    parsed = parse()
    sys.exit(measure(parsed.area) if parsed.area else main(parsed.only.split(","), parsed.output))
