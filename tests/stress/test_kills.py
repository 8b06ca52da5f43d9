"""The kill test in small: images, runs and a notebook are killed at random moments, and end with the same bytes."""

import random
import time

from tests.conftest import make_root
from tests.stress.commands import (
    MARK,
    NOTEBOOK,
    PROGRAM,
    RUN,
    contents,
    environment,
    kill_compare,
    kill_test,
    left_over,
    program,
)


def test_what_is_killed_again_and_again_ends_with_the_same_bytes(whole, tmp_path):
    undisturbed, seconds = whole
    root, moments, log = make_root(tmp_path / "killed"), random.Random(0), tmp_path / "log"
    for arguments, longest, kills in zip(([*RUN, "--processes", "2"], NOTEBOOK), seconds, (3, 2)):
        for _ in range(kills):
            kill_test.killed_at([*PROGRAM, *arguments], root, log, moments.uniform(0, longest), environment(root))
        assert program(root, arguments).returncode == 0
    assert contents(root) == contents(undisturbed)
    assert left_over(root) == []


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
