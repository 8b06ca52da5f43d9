"""Malformed inputs through every door: exit code 2, one sentence that names the culprit, and nothing written."""

import os
import shlex
import stat

import pytest

from analysis_lib.cli import main
from tests.hostile import checkpoints, lists, manifests, pictures, ready_logits, runs

TABLE = [row for door in (manifests, pictures, lists, checkpoints, ready_logits, runs) for row in door.ROWS]
PROGRESS = ("building ", "pictures: ", "seen: ")  # lines that tell how far it came before the error
FINE = [row for door in (pictures, lists, ready_logits) for row in door.FINE]


def tree(folder):
    """Everything below a folder, but for the empty files that hold locks."""
    found = {}
    for above, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            if name.endswith(".lock"):
                continue
            path = os.path.join(above, name)
            facts = os.lstat(path)
            found[path] = facts.st_ino, 0 if stat.S_ISDIR(facts.st_mode) else facts.st_mtime_ns
    return found


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.title)
def test_a_malformed_input_is_one_sentence_and_writes_nothing(project, row, capsys, monkeypatch):
    for name, value in row.environment.items():
        monkeypatch.setenv(name, value)
    row.spoil()
    before = tree(project.parent)
    assert main(shlex.split(row.command)) == 2
    *progress, said = capsys.readouterr().err.splitlines()
    assert all(line.startswith(PROGRESS) for line in progress), progress
    assert said.startswith("error: ")
    assert all(word in said for word in row.words), said
    assert tree(project.parent) == before


@pytest.mark.filterwarnings("ignore:Creating legend")  # matplotlib says so when the machine is busy
@pytest.mark.parametrize("row", FINE, ids=lambda row: row.title)
def test_what_is_odd_but_fine_works(project, row, capsys):
    row.spoil()
    assert main(shlex.split(row.command)) == 0, capsys.readouterr().err
