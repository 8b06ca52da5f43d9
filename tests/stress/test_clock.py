"""A clock that was ahead and is set back: nothing is made twice, nothing waits, and the bytes stay the same."""

import os
import subprocess
import time

import pytest

from analysis_lib.cli.many_runs import time_left
from analysis_lib.core import paths
from analysis_lib.runs.execute import execute
from analysis_lib.runs.plan import plan
from analysis_lib.runs.states import seconds_left
from tests.stress.commands import MAKEFILE, PACKAGE, copy

DAY = 86400


def copy_of_makefile(folder):
    """A checkout for `make --question`, whose environment and notebooks count as made an hour ago."""
    copy(MAKEFILE + PACKAGE, folder)
    (folder / ".venv").mkdir()
    done = folder / "executed" / "digits"
    done.mkdir(parents=True)
    (folder / ".venv" / "ready").touch()
    (done / "settings").write_text("benchmark=digits profile=smoke seeds=0 device=\n")
    (done / "runs").touch()
    for notebook in (folder / "notebooks").glob("*.ipynb"):
        (done / notebook.name).touch()
    an_hour_ago = time.time() - 3600
    for path in folder.rglob("*"):
        os.utime(path, times=(an_hour_ago, an_hour_ago))
    return folder


def is_made(folder):
    """Whether `make reproduce` has nothing to do; what it would do with Python it only prints."""
    command = ["make", "PY=echo python", "reproduce", "BENCHMARK=digits", "PROFILE=smoke", "SEEDS=0"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == "", "no warning of a clock skew"
    return "analysis_lib" not in done.stdout


@pytest.mark.parametrize(
    "ahead", ["executed/digits/runs", ".venv/ready", "analysis_lib/core/files.py", "notebooks/01_fine_tuning.ipynb"]
)
def test_what_is_dated_in_the_future_is_made_again_once_at_most(tmp_path, ahead):
    folder = copy_of_makefile(tmp_path)
    assert is_made(folder)
    os.utime(folder / ahead, times=(time.time() + DAY,) * 2)
    if not is_made(folder):
        for notebook in (folder / "executed" / "digits").glob("*.ipynb"):
            notebook.touch()
    assert is_made(folder), "else every `make reproduce` would run everything until that day has come"


def test_the_time_left_is_never_negative_when_a_run_ended_before_it_began(project):
    done, missing = plan("digits", "smoke", [0, 1])
    execute(done, "cpu")
    os.utime(paths.run_environment(done.run_id), times=(time.time() + DAY,) * 2)
    assert time_left(seconds_left([done, missing], 1)) == "the time is known once a run is done"
