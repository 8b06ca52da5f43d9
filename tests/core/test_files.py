import errno
import os
import subprocess
import sys
import threading

import pandas as pd
import pytest
import safetensors.torch
import torch

from analysis_lib import UserError
from analysis_lib.core import files, paths, tensor_file
from analysis_lib.runs import execute

DTYPES = list(tensor_file.DTYPES)


def names(root):
    return sorted(path.name for path in root.rglob("*") if path.is_file() and "data_manifests" not in path.parts)


def test_tensors_and_metadata_round_trip(project):
    tensors = {"a": torch.arange(6).reshape(2, 3).T, "b": torch.tensor([1.5], dtype=torch.float64)}
    files.write_tensors(project / "x.safetensors", tensors, {"note": "kept"})
    back = files.read_tensors(project / "x.safetensors")
    assert all(torch.equal(tensors[name], back[name]) and tensors[name].dtype == back[name].dtype for name in tensors)
    assert files.read_metadata(project / "x.safetensors") == {"note": "kept"}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_tensor_file_has_the_bytes_of_the_library(project, dtype):
    tensors = {
        "b": torch.arange(6).reshape(2, 3).to(dtype),
        "ä": torch.ones((), dtype=torch.float32),
        "a": torch.zeros(4, 0, dtype=dtype),
        "of another size": torch.arange(3, dtype=torch.int16),
    }
    for metadata in (None, {"history": '[{"epoch": 0, "é": "\n"}]'}):
        files.write_tensors(project / "x.safetensors", tensors, metadata)
        assert (project / "x.safetensors").read_bytes() == safetensors.torch.save(tensors, metadata)


def test_all_types_together_are_ordered_as_by_the_library(project):
    tensors = {f"{i}": torch.ones(1).to(dtype) for i, dtype in enumerate(reversed(DTYPES))}
    files.write_tensors(project / "x.safetensors", tensors)
    assert (project / "x.safetensors").read_bytes() == safetensors.torch.save(tensors)


def test_a_full_disk_leaves_no_half_of_a_tensor_file(project, monkeypatch):
    def full(file, tensors, metadata):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tensor_file, "write", full)
    with pytest.raises(UserError, match="the disk is full: x.safetensors was not written"):
        files.write_tensors(project / "x.safetensors", {"a": torch.ones(2)})
    assert names(project) == []


def test_a_full_disk_leaves_the_old_file_and_nothing_else(project, monkeypatch):
    path = project / "results" / "t.csv"
    files.write_text(path, "old")

    def full(self, data):
        with open(self, "wb") as file:
            file.write(data[:1])  # half-written, as on a real disk
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(UserError, match=r"the disk is full: results/t.csv was not written; free some space") as caught:
        files.write_text(path, "new")
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert names(project) == ["t.csv"]


def test_a_failure_while_writing_leaves_nothing(project):
    with pytest.raises(RuntimeError), files.replacing(project / "y") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert names(project) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_cannot_be_written_is_named(project):
    (project / "results").mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot write results/digits/t.csv"):
        files.write_table(pd.DataFrame({"a": [1]}), "digits", "t")


def test_a_damaged_artifact_is_named(project):
    (project / "bad.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    with pytest.raises(
        UserError, match="cannot read bad.safetensors .* delete bad.safetensors and run the same command again"
    ):
        files.read_tensors(project / "bad.safetensors")
    with pytest.raises(UserError, match="cannot read runs/r/epoch_001/test.safetensors .* delete runs/r and run"):
        files.read_tensors(paths.run_outputs("r", 1, "test"))


def test_tables_read_back_to_the_same_floats(project):
    table = pd.DataFrame({"value": torch.rand(50, dtype=torch.float64).numpy()})
    files.write_table(table, "digits", "t")
    back = files.read_table("digits", "t")
    pd.testing.assert_frame_equal(table, back, check_exact=True)


def test_a_table_that_is_not_there_yet_says_how_to_get_it(project):
    with pytest.raises(
        UserError, match="there is no results/emoji/summary.csv yet; run `make reproduce BENCHMARK=emoji`"
    ):
        files.read_table("emoji", "summary")


def test_states_of_a_run(project):
    assert execute.state("r") == "missing"
    files.write_json(paths.run_spec("r"), {})
    assert execute.state("r") == "partial"
    files.write_text(paths.run_done("r"), "")
    assert execute.state("r") == "done"


def test_a_run_is_held_by_one_at_a_time(project):
    order = []

    def second():
        with files.locked("r"):
            order.append("second")

    with files.locked("r"):
        other = threading.Thread(target=second)
        other.start()
        other.join(0.2)
        order.append("first")
    other.join()
    assert order == ["first", "second"]


def test_what_is_kept_is_made_once_by_whoever_asks_first(project):
    path, calls, gate = paths.run_views("some-run"), [], threading.Barrier(4)

    def make():
        calls.append(threading.get_ident())
        return {"x": torch.arange(3)}

    def ask(found):
        gate.wait()
        found.append(files.cached(path, make)["x"])

    found: list[torch.Tensor] = []
    threads = [threading.Thread(target=ask, args=(found,)) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(calls) == 1 and len(found) == 4 and all(torch.equal(x, torch.arange(3)) for x in found)


def test_making_a_file_removes_what_a_killed_process_left_of_it_and_nothing_of_its_neighbours(project):
    """Another process may be writing a neighbour, under a lock of its own."""
    path = paths.run_views("some-run")
    path.parent.mkdir(parents=True)
    left, neighbour = (path.with_name(f".{name}.1{files.TEMPORARY}") for name in (path.name, "step.safetensors"))
    left.touch()
    neighbour.touch()
    files.cached(path, lambda: {"x": torch.ones(1)})
    assert set(path.parent.iterdir()) == {path, neighbour}


def test_the_next_writer_removes_what_a_killed_one_left_and_nothing_of_one_that_lives(project):
    path = project / "results" / "[a] table.csv"
    with files.replacing(path) as held:  # this process is the writer that lives
        killed = path.with_name(f".{path.name}.7{files.TEMPORARY}")
        for left in (killed, killed.with_name(f"{killed.name}.ipynb"), path.with_name(f".b.csv.7{files.TEMPORARY}")):
            left.touch()
        child = [sys.executable, "-c", WRITES, str(path)]
        subprocess.run(child, check=True)
        assert names(project) == sorted([f".b.csv.7{files.TEMPORARY}", held.name, path.name])
        held.write_text("mine")
    assert path.read_text() == "mine"


WRITES = """
import pathlib, sys
from analysis_lib.core import files
files.write_text(pathlib.Path(sys.argv[1]), "another's")
"""


def test_what_cannot_be_made_is_not_kept(project):
    path = paths.run_views("some-run")

    def fail():
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        files.cached(path, fail)
    assert not path.exists()
    assert files.cached(path, lambda: {"x": torch.ones(1)})["x"] == 1
