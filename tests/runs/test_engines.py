import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from analysis_lib import UserError
from analysis_lib.core import paths
from analysis_lib.runs.engines import ENGINES, Outcome, Settings, processes
from analysis_lib.runs.plan import plan
from tests.conftest import make_root


def planned():
    """Two runs that fail, each in its own way, and three that do not."""
    specs = plan("digits", "smoke", [0, 1, 2], record_every=4)
    return [replace(specs[0], method="none"), specs[0], replace(specs[0], dtype="float7"), *specs[1:]]


def contents(root):
    """The bytes of all tensors and metrics of the runs in a project folder, by path."""
    found = [path for path in (root / "runs").rglob("*") if path.suffix in {".safetensors", ".jsonl"}]
    return {path.relative_to(root): path.read_bytes() for path in found}


def errors(outcomes):
    return {each.spec: (type(each.error), str(each.error)) for each in outcomes if each.error}


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """A project folder with the runs as the engine `serial` makes them, and their outcomes."""
    root = make_root(tmp_path_factory.mktemp("serial"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTC_ROOT", str(root))
        return root, list(ENGINES["serial"](planned(), Settings("cpu")))


def holder(lock):
    """The process that has a file open, or None."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) == str(lock):
                return int(link.parts[2])
        except OSError:  # it has been closed
            pass
    return None


def kill_one(root, killed, over):
    """Kill the process of the first run that has begun to train, and note it and whether the run was done by then."""
    while not killed and not over.is_set():
        for begun in root.glob("runs/digits-finetune*/checkpoint.safetensors"):
            process = holder(root / "runs" / f".{begun.parent.name}.lock")
            if process and not killed:
                os.kill(process, signal.SIGKILL)
                killed.append((process, (begun.parent / "done").exists()))
        time.sleep(0.01)


@pytest.fixture(scope="module", params=["processes", "ray"])
def one_killed(request, serial, tmp_path_factory):
    """As `serial`, by another engine with two workers, one of which is killed in the middle of a run."""
    if request.param == "ray":
        pytest.importorskip("ray")
    root = make_root(tmp_path_factory.mktemp(request.param))
    for made in serial[0].glob("runs/digits-pretrain*"):
        shutil.copytree(made, root / "runs" / made.name)
    killed, over = [], threading.Event()
    killer = threading.Thread(target=kill_one, args=(root, killed, over), daemon=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTC_ROOT", str(root))
        killer.start()
        outcomes = list(ENGINES[request.param](planned(), Settings("cpu", workers=2)))
    over.set()
    killer.join()
    return root, outcomes, killed


def test_every_engine_gives_the_bytes_of_serial_with_a_worker_killed_in_the_middle(serial, one_killed):
    root, outcomes, killed = one_killed
    ((process, was_done),) = killed
    assert process != os.getpid() and not was_done
    assert {each.spec for each in outcomes} == set(planned()) and len(outcomes) == len(planned())
    assert contents(root) == contents(serial[0])
    assert len([path for path in contents(root) if path.name == "model.safetensors"]) == 4  # with the starting network


def test_a_failed_run_stops_no_other_and_its_error_is_the_original(serial, one_killed):
    wrong, _, strange, *_ = planned()
    assert set(errors(serial[1])) == {wrong, strange}
    assert errors(serial[1])[wrong][0] is UserError
    assert errors(serial[1])[wrong][1].startswith("unknown method 'none'")
    assert errors(serial[1])[strange] == (AttributeError, "module 'torch' has no attribute 'float7'")
    assert errors(one_killed[1]) == errors(serial[1])


def test_a_run_whose_process_is_always_killed_is_given_up_and_the_others_are_done(project, monkeypatch):
    specs = plan("digits", "smoke", [0, 1, 2])
    pools = []

    def pool(left, settings):
        """One worker, that the run of seed 0 kills."""
        pools.append([spec.seed for spec in left])
        for spec in left:
            paths.run(spec.run_id).mkdir(parents=True, exist_ok=True)
            if spec.seed == 0:
                return
            yield Outcome(spec)

    monkeypatch.setattr(processes, "_in_one_pool", pool)
    outcomes = list(processes.run(specs, Settings()))
    assert pools == [[0, 1, 2], [1, 2, 0], [0], [0]]
    assert [each.spec.seed for each in outcomes if not each.error] == [1, 2]
    assert "was killed 3 times" in str(outcomes[-1].error) and outcomes[-1].spec == specs[0]


def test_a_missing_ray_is_one_sentence(project, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"run `pip install --constraint constraints.txt --editable '.\[ray\]'`"):
        list(ENGINES["ray"](plan("digits", "smoke", [0]), Settings()))


def test_a_gpu_that_is_not_there_is_one_sentence(project):
    with pytest.raises(UserError, match="no GPU of which each run could have 64"):
        list(ENGINES["ray"](plan("digits", "smoke", [0]), Settings(gpus=64.0)))


def test_an_address_where_no_cluster_answers_is_one_sentence(project):
    pytest.importorskip("ray")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UserError, match=f"no Ray cluster answers at '{address}'; start one"):
            list(ENGINES["ray"](plan("digits", "smoke", [0]), Settings("cpu", address=address)))


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"threads": -1}, {"gpus": -0.5}, {"gpus": 1.5}, {"gpus": float("nan")}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match="; give "):
        Settings(**wrong)


def test_the_threads_of_this_process_are_as_before(project):
    before = torch.get_num_threads()
    specs = plan("digits", "smoke", [0], seen=("eleven",))
    (outcome,) = ENGINES["serial"](specs, Settings("cpu", threads=before + 1))
    assert "unknown class" in str(outcome.error) and torch.get_num_threads() == before
    begun = json.loads(paths.run_environment(specs[0].run_id).read_text())
    assert begun["threads"] == before + 1
