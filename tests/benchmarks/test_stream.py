import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from analysis_lib import UserError
from analysis_lib.benchmarks import images
from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import COLUMNS, load_manifest, save_manifest
from analysis_lib.benchmarks.preprocess import PreparedImages
from analysis_lib.benchmarks.stream import StreamedImages, in_order
from analysis_lib.core import files, paths, resources
from analysis_lib.models.create import create_random_model
from analysis_lib.runs import execute, plan

REPOSITORY = Path(__file__).resolve().parents[2]
N = 40


@pytest.fixture
def pictures(project):
    """A benchmark of image files whose network starts from imported weights: `mine`, its images in this folder."""
    random, rows = np.random.default_rng(0), []
    (project / "pictures").mkdir()
    for i in range(N):
        path = project / "pictures" / f"{i:02}.png"
        height, width = random.integers(16, 40, 2)
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
        part = "test" if i % 5 == 0 else "train"
        rows.append((path.name, i % 4, part, str(i), hashlib.sha256(path.read_bytes()).hexdigest()))
    head = json.loads(paths.manifest_head("digits").read_text())
    changes = {"name": "mine", "builder": "folder", "source": "pictures", "weights": "start"}
    save_manifest(head | changes | {"class_names": list("abcd")}, pd.DataFrame(rows, columns=COLUMNS))
    files.write_tensors(paths.imported_weights("start"), create_random_model("digits_cnn", 4, 0).state_dict())
    return project / "pictures"


@pytest.fixture
def small_budget(monkeypatch):
    monkeypatch.setenv("FTC_MEMORY_BUDGET", "1K")


def made(spec):
    """The bytes of the tensors and metrics of a run, made now."""
    folder = paths.run(execute.execute(spec, "cpu"))
    kept = [*folder.rglob("*.safetensors"), *folder.rglob("*.jsonl")]
    return {path.relative_to(folder): path.read_bytes() for path in kept}


def test_streamed_images_give_the_run_that_cached_ones_give(pictures, project, monkeypatch):
    (spec,) = plan.plan("mine", "smoke", [0], epochs=2, batch_size=8)
    cached = made(spec)
    assert len(cached) == 11  # Outputs of two parts and the head after 0, 1 and 2 epochs, model, metrics
    for path in [*paths.run(spec.run_id).rglob("*"), *(project / "derived").rglob("*"), *(project / "data").glob("*")]:
        if path.is_file():
            path.unlink()
    monkeypatch.setenv("FTC_MEMORY_BUDGET", "1K")
    assert isinstance(load_images(load_manifest("mine")), StreamedImages)
    assert made(spec) == cached
    assert not list((project / "data").glob("*.safetensors"))
    assert not multiprocessing.active_children()


def test_any_index_gives_the_images_that_a_tensor_gives(pictures, monkeypatch):
    manifest = load_manifest("mine")
    streamed, cached = StreamedImages(manifest), load_images(manifest)
    assert isinstance(cached, torch.Tensor)
    assert streamed.shape == cached.shape and streamed.dtype == cached.dtype and len(streamed) == len(cached)
    for rows in (3, [4, 0, 4], slice(2, 9, 3), torch.tensor([[1, 2], [3, 1]]), torch.arange(N) > 30, torch.arange(0)):
        assert torch.equal(streamed[rows], cached[rows])
    prepared = [PreparedImages(each, torch.arange(9, 20), lambda x: x / 255) for each in (streamed, cached)]
    assert torch.equal(*(each[torch.tensor([2, 0])] for each in prepared))


def test_batches_come_in_their_order_and_leave_the_random_stream_alone(pictures):
    manifest = load_manifest("mine")
    batches = torch.randperm(N).split(7)
    before = torch.get_rng_state()
    found = list(in_order(StreamedImages(manifest), batches))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(torch.cat(found), load_images(manifest)[torch.cat(batches)])


def test_the_budget_decides(pictures, monkeypatch, capsys):
    manifest = load_manifest("mine")
    needed = N * 3 * 16 * 16
    images._say_once.cache_clear()
    monkeypatch.setenv("FTC_MEMORY_BUDGET", str(needed - 1))
    assert isinstance(load_images(manifest), StreamedImages)
    assert "the images of mine are streamed from disk" in capsys.readouterr().err
    monkeypatch.setenv("FTC_MEMORY_BUDGET", str(needed))
    assert isinstance(load_images(manifest), torch.Tensor)
    monkeypatch.setenv("FTC_MEMORY_BUDGET", "1K")
    assert isinstance(load_images(manifest), torch.Tensor)  # the cache is there
    assert isinstance(load_images(load_manifest("digits")), torch.Tensor)  # no files to stream


def test_a_budget_is_a_size(monkeypatch):
    monkeypatch.setenv("FTC_MEMORY_BUDGET", "")  # so that it is restored after the test
    for text, size in (("7", 7), ("3k", 3 << 10), ("500M", 500 << 20), ("8G", 8 << 30), ("1T", 1 << 40)):
        resources.set_memory_budget(text)
        assert resources.memory_budget() == size
    with pytest.raises(UserError, match="the memory budget is '8 GB'; give bytes, or a whole number with K, M, G or T"):
        resources.set_memory_budget("8 GB")
    monkeypatch.setenv("FTC_MEMORY_BUDGET", "")
    assert resources.memory_budget() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def test_workers_leave_a_core_and_are_shared_by_processes(monkeypatch):
    monkeypatch.setattr(resources.os, "sched_getaffinity", lambda process: range(9), raising=False)
    assert resources.worker_processes() == 8
    monkeypatch.setattr(resources, "_processes", 1)
    for processes, workers in ((3, 2), (8, 1), (20, 1)):
        resources.share_cores(processes)
        assert resources.worker_processes() == workers


def test_a_changed_or_missing_file_is_named_by_the_worker_that_meets_it(pictures, small_budget):
    (pictures / "03.png").write_bytes((pictures / "02.png").read_bytes())
    (pictures / "05.png").unlink()
    found = load_images(load_manifest("mine"))
    assert found[[0, 1, 2]].shape == (3, 3, 16, 16)
    wanted = (
        r"2 of 40 images under pictures cannot be used, first 03.png \(its sha256 differs from the manifest\), 05.png "
        r"\(No such file or directory\); restore them or correct data_manifests/mine.csv"
    )
    with pytest.raises(UserError, match=wanted):
        found[[3, 4, 5]]
    with pytest.raises(UserError, match=wanted):
        list(in_order(found, torch.arange(8).split(8)))
    assert not multiprocessing.active_children()


def test_a_worker_that_is_killed_does_not_leave_the_others_waiting(pictures, small_budget):
    batches = in_order(load_images(load_manifest("mine")), torch.arange(N).split(2))
    next(batches)
    (worker,) = multiprocessing.active_children()[:1]
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="worker .* exited unexpectedly|killed by signal"):
        list(batches)
    del batches
    assert not multiprocessing.active_children()


KILLED = """
import os, signal, torch
from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.benchmarks.stream import in_order
batches = in_order(load_images(load_manifest("mine")), torch.arange(40).split(2))
next(batches)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_when_the_process_that_uses_them_is_killed(pictures, small_budget):
    process = subprocess.Popen([sys.executable, "-c", KILLED], stderr=subprocess.PIPE, cwd=REPOSITORY)
    process.communicate(timeout=120)  # comes back once nobody holds the pipe: a worker that lives on would
    assert process.returncode == -signal.SIGKILL


def test_workers_end_with_a_training_that_is_interrupted(pictures, small_budget):
    batches = in_order(load_images(load_manifest("mine")), torch.arange(N).split(2))
    next(batches)
    assert multiprocessing.active_children()
    batches.close()
    assert not multiprocessing.active_children()
