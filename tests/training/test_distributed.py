"""Two processes that train one run together against one process that trains it alone."""

import copy
import json
import os
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from analysis_lib import UserError, cli
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.core import files, paths, processes
from analysis_lib.core.run_spec import RunSpec
from analysis_lib.core.seeds import generator_for
from analysis_lib.methods import create_method
from analysis_lib.models.batchnorm import reestimate
from analysis_lib.models.create import create_random_model
from analysis_lib.models.global_batchnorm import global_batchnorm
from analysis_lib.runs.execute import execute, state
from analysis_lib.runs.plan import plan, pretraining
from analysis_lib.training import loop
from analysis_lib.training.augmentation import augment
from analysis_lib.training.method import TrainingData
from analysis_lib.training.optimizers import create_optimizer
from tests.conftest import make_root

WORLD, CLASSES = 2, 6


def norms():
    """A BatchNorm of every kind that networks here have, each with a batch of odd size and gradients of its output."""
    draws = generator_for("norms")

    def normal(*shape):
        return torch.randn(shape, generator=draws, dtype=torch.float64)

    found = {}
    for name, make, shape in [
        ("BatchNorm2d", nn.BatchNorm2d, (7, 3, 4, 5)),
        ("cumulative", lambda n: nn.BatchNorm2d(n, momentum=None), (7, 3, 2, 2)),
        ("BatchNormAct2d", BatchNormAct2d, (5, 3, 4, 4)),
        ("BatchNorm1d", lambda n: nn.BatchNorm1d(n, affine=False), (3, 3)),
    ]:
        layer = make(3).double()
        if layer.affine:
            layer.weight.data, layer.bias.data = normal(3), normal(3)
        found[name] = layer, 3 * normal(*shape) + 50, normal(*shape)
    return found


def measured_norms():
    """For each of `norms`: this process's share of outputs and input gradients, and its parameters and statistics."""
    found = {}
    for name, (layer, x, gradient) in norms().items():
        own = processes.share().of(x).clone().requires_grad_()
        names = list(layer.state_dict())
        with global_batchnorm(layer):
            kind = copy.deepcopy(layer).train()
            y = kind(own)
            y.backward(processes.share().of(gradient))
        assert type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d, BatchNormAct2d) and list(layer.state_dict()) == names
        found |= {f"{name} output": y.detach(), f"{name} input gradient": own.grad}
        for key, parameter in kind.named_parameters():
            found[f"{name} {key} gradient"] = processes.total(parameter.grad)
        found |= {f"{name} {key}": tensor.detach() for key, tensor in kind.state_dict().items()}
    return found


def toy(batch_size=5):
    """15 images of the classes 1, 2, 4 and 5, in batches of 5: of two processes one gets 3 and the other 2."""
    draws = generator_for("toy")
    images = torch.randint(256, (15, 3, 16, 16), generator=draws, dtype=torch.uint8)
    labels = torch.tensor([1, 2, 4, 5, 5]).repeat(3)

    def augmented(batch, generator, size=None):
        return augment(batch.double() / 128 - 1, (0.5, 1.0), True, generator, size)

    return TrainingData(images, labels, torch.arange(15), batch_size, augmented, "toy")


METHODS = ("finetune", "l2sp", "ldifs", "distill", "lolsgd_masked", "swa", "batchnorm_statistics", "lp_ft")


def trained(name):
    """The weights and statistics after two epochs of a method, and what was recorded."""
    spec = RunSpec("toy", "", "digits_cnn", "", seed=0, epochs=2, lr=0.05, method=name)
    model, method, data = create_random_model("digits_cnn", CLASSES, 0), create_method(name, {}), toy()
    found = {}
    with global_batchnorm(model):
        method.prepare(model, data)
        moved = [p for p in model.parameters() if p.requires_grad]
        optimizer = create_optimizer(moved, spec) if moved else None
        for epoch in (1, 2):
            measured = loop.train_epoch(model, method, optimizer, data, spec, epoch)
            found |= {f"{name} {key} {epoch}": torch.tensor(value) for key, value in measured.items()}
        method.finish(model, data)
        reestimate(model, data.passes("again"))
    return found | {f"{name} {key}": tensor.detach() for key, tensor in model.state_dict().items()}


def refusals():
    """What is said for a batch smaller than the number of processes, and where one process has a loss of NaN."""

    def last_is_nan(batch, generator, size):
        return batch.double() + (0 if processes.share().is_first else torch.nan)

    spec = RunSpec("toy", "", "linear", "", seed=0, epochs=1, lr=0.05)
    said = []
    for data in (toy(batch_size=1), replace(toy(), augmented=last_is_nan)):
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, CLASSES)).double()
        optimizer = create_optimizer(model.parameters(), spec)
        with pytest.raises(UserError) as error:
            loop.train_epoch(model, create_method("finetune", {}), optimizer, data, spec, 1)
        said.append(str(error.value))
    return said


class Stopped(Exception):
    """Stands for an interruption."""


def interrupted(spec):
    """Run `spec` until its second epoch is over, and stop; then run it again, to its end."""
    real = loop.train_epoch

    def stop_at_epoch_3(*arguments):
        if arguments[-1] == 3:
            raise Stopped
        return real(*arguments)

    loop.train_epoch = stop_at_epoch_3
    with pytest.raises(Stopped):
        execute(spec, "cpu")
    loop.train_epoch = real
    processes.wait()
    assert state(spec.run_id) == "partial" and paths.run_checkpoint(spec.run_id).exists()
    execute(spec, "cpu")
    assert state(spec.run_id) == "done", "no process goes on before the run is done"


def work(rank, folder):
    """What each of the two processes does; what it measures lies in `folder` for the test."""
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    store = f"file://{folder / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=WORLD)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD), "LOCAL_WORLD_SIZE": str(WORLD)}
    processes.join()  # as a command would: the group is there already
    found = measured_norms()
    for name in METHODS:
        found |= trained(name)
    files.write_tensors(folder / f"found{rank}.safetensors", found)
    files.write_json(folder / f"said{rank}.json", refusals())
    real, written = files.os.replace, []

    def noting(source, target):
        written.append(Path(target).name)
        real(source, target)

    files.os.replace = noting
    interrupted(plan("digits", "smoke", [0])[0])
    files.os.replace = real
    files.write_json(folder / f"written{rank}.json", written)
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The folder of two processes that have worked together; its sub-folder `alone` has the run of one process."""
    folder = tmp_path_factory.mktemp("pair")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTC_ROOT", str(make_root(folder / "alone")))
        spec = plan("digits", "smoke", [0])[0]
        execute(spec, "cpu")
        patch.setenv("FTC_ROOT", str(make_root(folder / "together")))
        source = pretraining(load_manifest("digits"), spec.dtype).run_id
        for made in ("data", f"runs/{source}"):
            shutil.copytree(folder / "alone" / made, folder / "together" / made)
        torch.multiprocessing.spawn(work, (folder,), nprocs=WORLD)
    return folder


@pytest.fixture(scope="module")
def found(pair):
    """What each of the two processes has measured."""
    return [files.read_tensors(pair / f"found{rank}.safetensors") for rank in range(WORLD)]


def close(one, two, tolerance):
    return torch.allclose(one.double(), two.double(), rtol=tolerance, atol=tolerance)


def test_batchnorm_sees_the_batch_of_all_processes(found):
    """Outputs, gradients and running statistics are those of torch's layers on the whole batch."""
    for name, expected in measured_norms().items():
        parts = [each[name] for each in found]
        if name.endswith(("output", "input gradient")):
            assert len(parts[0]) > len(parts[1]) > 0
            assert close(torch.cat(parts), expected, 1e-12), name
        else:
            assert torch.equal(*parts) and close(parts[0], expected, 1e-12), name


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_take_the_steps_of_one(found, name):
    """Also where one process has more images of a batch than the other, with crops, and where weights are frozen."""
    expected = trained(name)
    assert len(expected) > 10
    for key, tensor in expected.items():
        assert torch.equal(*(each[key] for each in found)), f"the processes differ in {key}"
        assert close(found[0][key], tensor, 1e-10), key


def test_all_processes_say_the_same_mistake(pair):
    said = [json.loads((pair / f"said{rank}.json").read_text()) for rank in range(WORLD)]
    assert said[0] == said[1]
    assert "cannot share a batch of 1 among 2 processes; start no more than 1, or give larger batches" in said[0][0]
    assert "the loss became nan" in said[0][1]


def test_an_interrupted_run_of_two_processes_is_the_run_of_one(pair, monkeypatch):
    runs = []
    for name in ("alone", "together"):
        monkeypatch.setenv("FTC_ROOT", str(pair / name))
        folder = paths.run(plan("digits", "smoke", [0])[0].run_id)
        runs.append({str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()})
    one, two = runs
    assert one.keys() == two.keys() and "done" in one
    for name in one:
        if name.endswith(".safetensors"):
            alone, together = files.read_tensors(one[name]), files.read_tensors(two[name])
            assert alone.keys() == together.keys()
            assert all(close(alone[key], together[key], 1e-9) for key in alone), name
    histories = [[json.loads(line) for line in run["metrics.jsonl"].read_text().splitlines()] for run in runs]
    for alone, together in zip(*histories, strict=True):
        assert together == pytest.approx(alone, rel=1e-9)
    environments = [json.loads(run["environment.json"].read_text()) for run in runs]
    assert environments[1].pop("processes") == WORLD and environments[0] == environments[1]


def test_only_the_first_process_writes(pair):
    written = [json.loads((pair / f"written{rank}.json").read_text()) for rank in range(WORLD)]
    assert written[1] == []
    assert written[0].count("done") == written[0].count("model.safetensors") == 1
    assert written[0].count("checkpoint.safetensors") == 5


def test_one_process_joins_nobody(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")  # of some other launcher
    processes.join()
    assert processes.share() == processes.Share() and not torch.distributed.is_initialized()
    x = torch.ones(3)
    assert processes.total(x) is x and processes.share().of(x).equal(x)
    assert processes.told(True) and not processes.told(False)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    for name, value in (("RANK", "2"), ("LOCAL_RANK", "2"), ("WORLD_SIZE", "4"), ("LOCAL_WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="process 2 finds 2 GPUs.*start at most 2 processes"):
        processes.join()


def test_runs_side_by_side_are_refused_under_torchrun(project, monkeypatch, capsys):
    monkeypatch.setattr(processes, "share", lambda: processes.Share(0, 2))
    assert cli.main(["run", "digits", "--profile", "smoke", "--seeds", "0", "--processes", "2"]) == 2
    assert "--processes is 2 under torchrun" in capsys.readouterr().err
