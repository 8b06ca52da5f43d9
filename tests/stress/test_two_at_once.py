"""Two of the same command on one folder: both end well, nothing is made twice, and the bytes are those of one."""

import subprocess

from tests.conftest import make_root
from tests.stress.commands import NOTEBOOK, PROGRAM, RUN, contents, environment, left_over


def both(root, arguments):
    """Start a command twice, and return what the two printed on their error streams."""
    started = [
        subprocess.Popen([*PROGRAM, *arguments], env=environment(root), stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    return said


def test_two_reproductions_share_the_work(whole, tmp_path):
    """The steps of `make reproduce`: the runs, then a notebook."""
    shared = make_root(tmp_path / "shared")
    said = "".join(both(shared, RUN))
    begun = [line for line in said.splitlines() if line.endswith(" on cpu")]
    assert len(begun) == len(set(begun)) == 3, "the network, the run and its control: each begun once"
    both(shared, NOTEBOOK)
    assert contents(shared) == contents(whole[0])
    assert left_over(shared) == []
