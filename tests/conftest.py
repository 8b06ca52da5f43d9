import os
import shutil
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.core import files
from analysis_lib.runs.execute_all import execute_all
from analysis_lib.runs.plan import plan
from analysis_lib.runs.run_set import RunSet
from analysis_lib.studies import STUDIES, make_runs

pytest_plugins = ["tests.browser"]
REPOSITORY = Path(__file__).resolve().parent.parent
if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Tests on trained networks: what another processor could change."""
    for item in items:
        if "digits_root" in item.fixturenames:
            item.add_marker("trains")


def make_root(folder: Path) -> Path:
    """A project folder of its own: the manifests, and nothing downloaded or trained."""
    shutil.copytree(REPOSITORY / "data_manifests", folder / "data_manifests")
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project folder that the library writes to in this test."""
    root = make_root(tmp_path)
    monkeypatch.setenv("FTC_ROOT", str(root))
    return root


@pytest.fixture(scope="session")
def digits_root(tmp_path_factory, worker_id):
    """A project folder with the smoke runs of all studies on `digits`, made once for all tests and all workers."""
    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent
    root = shared / "digits"
    with FileLock(shared / "digits.lock"):
        if not root.exists():
            make_root(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTC_ROOT", str(root))
        if worker_id == "gw1":  # begins at the other end, so that two workers meet in the middle
            planned = [spec for study in STUDIES.values() for spec in study.runs("digits", "smoke", [0, 1])]
            list(execute_all(planned[::-1], "cpu"))
        assert list(make_runs(list(STUDIES), "digits", "smoke", [0, 1], "cpu"))
    return root


@pytest.fixture
def digits(digits_root, monkeypatch):
    """The smoke runs of `digits`, opened for reading."""
    monkeypatch.setenv("FTC_ROOT", str(digits_root))
    return RunSet(load_manifest("digits"), tuple(plan("digits", "smoke", [0, 1])), "cpu")


@pytest.fixture
def stop_at_write(monkeypatch):
    """A function that makes the n-th file from now on, counted from 0, a KeyboardInterrupt; called again, it ends that.

    Every file is written under a temporary name and then renamed. It returns the count of files so far.
    """
    real = os.replace

    def stop_at(n):
        written = []

        def stopping(source, target):
            written.append(target)
            if len(written) - 1 == n:
                raise KeyboardInterrupt
            real(source, target)

        monkeypatch.setattr(files.os, "replace", stopping)
        return written

    return stop_at


@pytest.fixture
def random():
    return torch.Generator().manual_seed(0)
