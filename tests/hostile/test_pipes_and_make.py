"""Doors that need a process of their own: pipes that close early, and the variables of make."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from tests.hostile.test_doors import tree
from tests.hostile.workshop import REPOSITORY
from tests.stress.commands import MAKEFILE, copy

ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY)}
CODE = "import sys; from analysis_lib.cli import main; sys.exit(main(['manifest', 'verify', 'digits']))"


@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_reader_that_has_gone_ends_it_quietly(project, buffered):
    reading, writing = os.pipe()
    os.close(reading)
    environment = ENVIRONMENT | {"PYTHONUNBUFFERED": buffered}
    ended = subprocess.run(
        [sys.executable, "-c", CODE], check=False, stdout=writing, stderr=subprocess.PIPE, env=environment
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


MAKE = {
    "SEEDS=": "--seeds",
    "SEEDS=one": "seeds",
    "PROFILE=x": "unknown profile 'x'",
    "BENCHMARK=": "BENCHMARK",
    "BENCHMARK=../x": "BENCHMARK",
    "BENCHMARK=../../x": "BENCHMARK",
    "BENCHMARK=/tmp/x": "BENCHMARK",
    "BENCHMARK='a b'": "BENCHMARK",
    "PROCESSES=two": "--processes",
}


@pytest.mark.parametrize("setting", MAKE)
def test_a_variable_of_make_is_refused(project, setting):
    copy(MAKEFILE, project)
    (project / "analysis_lib").symlink_to(REPOSITORY / "analysis_lib")
    (project / "ready").touch()
    before = tree(project.parent)
    command = ["make", "runs", "BENCHMARK=digits", "SEEDS=0", "PROFILE=smoke", *shlex.split(setting)]
    command += [f"PY={sys.executable}", "READY=ready"]
    ended = subprocess.run(command, check=False, cwd=project, capture_output=True, text=True, env=ENVIRONMENT)
    said = [line for line in ended.stderr.splitlines() if not re.match(r"make(\[\d+\])?: \*\*\*", line)] or [
        ended.stderr
    ]
    assert ended.returncode == 2 and len(said) == 1 and MAKE[setting] in said[0], ended.stderr
    changed = {path for path, _ in before.items() ^ tree(project.parent).items()}
    assert all("/executed" in path for path in changed), changed  # there make keeps which settings it ran with
