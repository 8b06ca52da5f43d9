"""The kill test in small: images, runs and a notebook are killed at random moments, and end with the same bytes."""

import random
import time

import pytest

from tests.conftest import make_root
from tests.stress.commands import MARK, NOTEBOOK, PROGRAM, RUN, contents, environment, kill_compare, kill_test, program

KILLS = {"run": 3, "notebook": 2}
COMMANDS = {"run": [*RUN, "--processes", "2"], "notebook": NOTEBOOK}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A project folder in which nothing was disturbed, and the seconds of each command."""
    root, seconds = make_root(tmp_path_factory.mktemp("whole")), {}
    for name, arguments in COMMANDS.items():
        begin = time.monotonic()
        done = program(root, arguments)
        seconds[name] = time.monotonic() - begin
        assert done.returncode == 0, done.stderr
    return root, seconds


def test_what_is_killed_again_and_again_ends_with_the_same_bytes(whole, tmp_path):
    root, seconds = make_root(tmp_path / "killed"), whole[1]
    moments, log = random.Random(0), tmp_path / "log"
    for name, arguments in COMMANDS.items():
        for _ in range(KILLS[name]):
            kill_test.killed_at([*PROGRAM, *arguments], root, log, moments.uniform(0, seconds[name]), environment(root))
        assert program(root, arguments).returncode == 0
    assert contents(root) == contents(whole[0])
    assert kill_compare.left_over(root, MARK) == []


def test_what_kills_leave_is_seen(tmp_path):
    """The comparison itself: bytes that differ, files of one side, temporary files, locks and processes."""
    for side, text in (("whole", "same"), ("killed", "other")):
        (tmp_path / side / "runs").mkdir(parents=True)
        (tmp_path / side / "runs" / "a").write_text("same")
        (tmp_path / side / "runs" / "b").write_text(text)
        (tmp_path / side / "runs" / side).touch()
    found = kill_compare.compare(tmp_path / "whole", tmp_path / "killed", ["runs"])
    assert (found.files, found.bytes, found.differ) == (2, 9, ["runs/killed", "runs/whole", "runs/b"])
    killed = tmp_path / "killed"
    (killed / "runs" / ".b.7.tmp").touch()
    sleeper = kill_test.start(
        ["sh", "-c", "exec flock runs/.b.lock sleep 60"], killed, tmp_path / "log", environment(killed)
    )
    while not kill_compare.held_locks(killed):
        time.sleep(0.01)
    left = kill_compare.left_over(killed, MARK, grace=0)
    assert left[:2] == ["runs/.b.7.tmp", ".b.lock"] and f"process {sleeper.pid}" in left
    kill_test.kill_group(sleeper)
