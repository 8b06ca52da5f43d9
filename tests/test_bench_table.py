"""The table of `make bench`: rows become lines and JSON, and a ratio below its limit is an error."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"
FAST, SLOW = 'Row("curve", "fast", 0.5, 1.0, "s", 2.0, 1.5)', 'Row("start", "slow", 1.0, 1.2, "s", 1.2, 1.5)'


@pytest.fixture
def bench(tmp_path):
    """The table in a folder with a fast area and a slow one."""
    for name in ("rows.py", "table.py"):
        shutil.copy(BENCH / name, tmp_path)
    for area, row in {"curve": FAST, "start": SLOW}.items():
        (tmp_path / f"{area}.py").write_text(f"from rows import Row\ndef rows():\n    yield {row}\n")
    return tmp_path


def run(bench, *arguments):
    command = [sys.executable, str(bench / "table.py"), "--output", str(bench / "out.json"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_rows_become_lines_and_json(bench):
    done = run(bench, "--only", "curve")
    assert done.returncode == 0
    assert "curve      fast" in done.stdout
    assert "0 below the limit" in done.stdout
    written = json.loads((bench / "out.json").read_text())
    (row,) = written["rows"]
    assert row == {
        "area": "curve",
        "name": "fast",
        "ours": 0.5,
        "other": 1.0,
        "unit": "s",
        "ratio": 2.0,
        "limit": 1.5,
        "note": "",
        "ok": True,
    }
    assert set(written["made_on"]) == {"processor", "level", "cores", "threads", "versions"}


def test_a_ratio_below_its_limit_is_an_error(bench):
    done = run(bench)
    assert done.returncode == 1
    assert "1 below the limit" in done.stdout
    assert [row["ok"] for row in json.loads((bench / "out.json").read_text())["rows"]] == [False, True]


def test_an_area_that_fails_is_an_error(bench):
    (bench / "curve.py").write_text("def rows():\n    raise ValueError('no images')\n")
    done = run(bench, "--only", "curve")
    assert done.returncode == 1
    assert "error: the area curve failed" in done.stderr
