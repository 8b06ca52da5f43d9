"""A disk that is full and a folder that is read-only, on real file systems: one sentence, exit code 2, nothing lost."""

import contextlib
import re
import shutil
import subprocess

import numpy as np
import pytest

from tests.conftest import make_root
from tests.stress.commands import NOTEBOOK, RUN, contents, left_over, program


@contextlib.contextmanager
def mounted(folder, *options):
    """A file system of its own at `folder`; skips where it may not be mounted."""
    folder.mkdir()
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting a file system needs root's rights: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    """A project folder on a disk of 64 MB."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=64m", "tmpfs") as root:
        yield make_root(root / "project")


def fill(root, left):
    """Fill the disk of `root` but for so many bytes, and return the file that fills it."""
    filler = root.parent / "filler"
    with filler.open("wb") as file:
        file.write(bytes(shutil.disk_usage(root).free - left))
    return filler


def refused(root, arguments, pattern):
    """Run a command that must end in one sentence with a pattern, and leave nothing of it behind."""
    done = program(root, arguments)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and re.match(f"error: {pattern}", last), done.stderr
    assert done.stderr.count("error: ") == 1 and "Traceback" not in done.stderr
    assert left_over(root) == []


def test_a_full_disk_stops_a_run_and_a_notebook_that_go_on_once_there_is_space(whole, small_disk):
    full = r"the disk is full: \S+ was not written; free some space and run the same command again"
    for arguments, left in ((RUN, 300 * 2**10), (NOTEBOOK, 60 * 2**10)):
        filler = fill(small_disk, left)
        refused(small_disk, arguments, full)
        assert not list((small_disk / "executed").glob("*/*"))
        filler.unlink()
        assert program(small_disk, arguments).returncode == 0
    assert contents(small_disk) == contents(whole[0])


@pytest.fixture
def logits(tmp_path):
    """Stored logits of the seen half of ten classes, and the command that calibrates on them."""
    random = np.random.default_rng(0)
    np.savez(tmp_path / "seen.npz", logits=random.normal(size=(200, 10)), labels=np.arange(200) % 5)
    return ["calibrate", "--seen", "0,1,2,3,4", "--data", tmp_path / "seen.npz", "--method", "alg", "--output"]


def test_a_full_disk_takes_all_results_of_calibrate_or_none(small_disk, logits):
    output = small_disk / "out" / "report.json"
    filler = fill(small_disk, 16 * 2**10)
    refused(small_disk, [*logits, output], r"the disk is full: out/report\.\w+ was not written; free some space")
    assert list((small_disk / "out").iterdir()) == []
    filler.unlink()
    assert program(small_disk, [*logits, output]).returncode == 0
    assert sorted(path.name for path in output.parent.iterdir()) == ["report.html", "report.json"]


def test_a_read_only_folder_is_named_with_what_to_do(whole, tmp_path, logits):
    with mounted(tmp_path / "disk", "--bind", "--options", "ro", str(whole[0])) as root:
        pattern = r"cannot write \S+ \(Read-only file system\); make its folder writable or set FTC_ROOT"
        for arguments in (NOTEBOOK, [*logits, root / "report.json"], ["data", "emoji"], [*RUN, "--seeds", "1"]):
            refused(root, arguments, pattern)
