import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from analysis_lib import UserError
from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.benchmarks.preprocess import normalizer
from analysis_lib.core import files, paths
from analysis_lib.core.run_spec import RunSpec
from analysis_lib.core.seeds import generator_for
from analysis_lib.methods.finetune import FineTune
from analysis_lib.models import create
from analysis_lib.runs import execute, plan
from analysis_lib.runs.outputs import extract
from analysis_lib.runs.rows import split_parts
from analysis_lib.runs.run_set import RunSet
from analysis_lib.training import augmentation, loop, optimizers
from analysis_lib.training.method import TrainingData

REPOSITORY = Path(__file__).resolve().parents[2]


def contents(run_id):
    """Every file of a run with its bytes."""
    return {
        str(path.relative_to(paths.run(run_id))): path.read_bytes()
        for path in paths.run(run_id).rglob("*")
        if path.is_file()
    }


@pytest.fixture
def planned(digits, project, digits_root):
    """The plan of one smoke run in an empty project whose pre-training is done."""
    (spec,) = plan.plan("digits", "smoke", [0])
    source = plan.pretraining(load_manifest("digits"), spec.dtype)
    paths.runs().mkdir()
    paths.run(source.run_id).symlink_to(digits_root / "runs" / source.run_id)
    return spec


def test_the_same_seed_gives_the_same_bytes(planned, digits_root, monkeypatch):
    execute.execute(planned, "cpu")
    fresh = contents(planned.run_id)
    assert "done" in fresh and "checkpoint.safetensors" not in fresh
    monkeypatch.setenv("FTC_ROOT", str(digits_root))
    assert fresh == contents(planned.run_id)


def test_memory_filled_with_nan_before_use_gives_the_same_bytes(planned, digits_root, monkeypatch):
    """Nothing reads what was never written."""
    monkeypatch.setattr(
        execute, "reuse_memory", lambda: setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    )
    execute.execute(planned, "cpu")
    assert torch.utils.deterministic.fill_uninitialized_memory
    torch.utils.deterministic.fill_uninitialized_memory = False
    filled = contents(planned.run_id)
    monkeypatch.setenv("FTC_ROOT", str(digits_root))
    assert filled == contents(planned.run_id)


@pytest.mark.parametrize("stop_at", range(0, 24, 2))
def test_a_run_stopped_at_any_write_continues_to_the_same_bytes(
    planned, digits_root, monkeypatch, stop_at_write, stop_at
):
    """Stop instead of the n-th write of the run, at every other write, then run again."""
    written = stop_at_write(stop_at)
    try:
        execute.execute(planned, "cpu")
        assert len(written) <= stop_at, "the run ended before the stop"
    except KeyboardInterrupt:
        assert execute.state(planned.run_id) != "done"
    stop_at_write(None)
    execute.execute(planned, "cpu")
    resumed = contents(planned.run_id)
    monkeypatch.setenv("FTC_ROOT", str(digits_root))
    assert resumed == contents(planned.run_id)


def test_a_killed_process_continues_to_the_same_bytes(planned, digits_root, monkeypatch):
    command = [
        sys.executable,
        "-m",
        "analysis_lib",
        "run",
        "digits",
        "--profile",
        "smoke",
        "--seeds",
        "0",
        "--device",
        "cpu",
    ]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL
    )
    while not paths.run_checkpoint(planned.run_id).exists():
        time.sleep(0.01)
        assert process.poll() is None, "the run ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert execute.state(planned.run_id) == "partial"
    execute.execute(planned, "cpu")
    resumed = contents(planned.run_id)
    monkeypatch.setenv("FTC_ROOT", str(digits_root))
    assert resumed == contents(planned.run_id)


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_kill_around_the_last_clean_up_continues_to_the_same_bytes(planned, digits_root, monkeypatch, where):
    real = Path.unlink

    def stopping(path, missing_ok=False):
        if path.name == "checkpoint.safetensors":
            if where == "after":
                real(path)
            raise KeyboardInterrupt
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", stopping)
    with pytest.raises(KeyboardInterrupt):
        execute.execute(planned, "cpu")
    monkeypatch.setattr(Path, "unlink", real)
    execute.execute(planned, "cpu")
    resumed = contents(planned.run_id)
    monkeypatch.setenv("FTC_ROOT", str(digits_root))
    assert resumed == contents(planned.run_id)


def test_leftovers_of_a_killed_process_are_swept_up(planned):
    leftover = paths.run(planned.run_id) / "epoch_001" / ".test.safetensors.123.tmp"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    execute.execute(planned, "cpu")
    assert not leftover.exists()


def test_a_run_does_not_change_its_device_half_way(planned):
    files.write_json(paths.run_environment(planned.run_id), {"device": "cuda"})
    with pytest.raises(
        UserError,
        match=f"run {planned.run_id} was begun on cuda and cannot go on on cpu .* delete runs/{planned.run_id}",
    ):
        execute.execute(planned, "cpu")


def test_a_last_step_that_diverges_does_not_end_as_done(planned):
    (wild,) = plan.plan("digits", "smoke", [0], lr=1e200, epochs=1, batch_size=10_000)
    with pytest.raises(UserError, match="gives logits that are not finite after epoch 1; lower the learning rate"):
        execute.execute(wild, "cpu")
    assert execute.state(wild.run_id) == "partial"


def test_a_finished_run_is_not_touched_again(digits):
    spec = digits.specs[0]
    before = {path: path.stat().st_mtime_ns for path in paths.run(spec.run_id).rglob("*")}
    assert execute.execute(spec, "cpu") == spec.run_id
    assert before == {path: path.stat().st_mtime_ns for path in paths.run(spec.run_id).rglob("*")}


def test_a_loss_that_is_not_finite_ends_in_one_sentence(planned):
    (wild,) = plan.plan("digits", "smoke", [0], lr=1e200)
    with pytest.raises(
        UserError,
        match=r"the loss became (nan|inf) in run digits-finetune-s0-.* at epoch 1, step \d+; lower the "
        r"learning rate \(now 1e\+200\)",
    ):
        execute.execute(wild, "cpu")
    assert execute.state(wild.run_id) == "partial"


def test_the_metrics_count_what_was_trained_on(digits):
    spec, manifest = digits.specs[0], digits.manifest
    lines = [json.loads(line) for line in paths.run_metrics(spec.run_id).read_text().splitlines()]
    train = manifest.rows("train")
    assert [line["epoch"] for line in lines] == list(range(spec.epochs + 1))
    assert {line["n"] for line in lines[1:]} == {int(digits.split(spec).is_seen(manifest.labels[train]).sum())}
    assert lines[-1]["loss"] < lines[1]["loss"]


def test_absent_classes_cannot_influence_fine_tuning(planned, digits_root, monkeypatch):
    """Blacken every absent-class image and every test image: the trained model is the same, byte for byte."""
    manifest = load_manifest("digits")
    images = execute.load_images(manifest)
    split = manifest.class_split(planned.seed)
    images[~split.is_seen(manifest.labels)] = 0
    images[manifest.rows("test")] = 0
    monkeypatch.setattr(execute, "load_images", lambda manifest: images)
    execute.execute(planned, "cpu")
    spoiled = paths.run_model(planned.run_id).read_bytes()
    monkeypatch.setenv("FTC_ROOT", str(digits_root))
    assert spoiled == paths.run_model(planned.run_id).read_bytes()


def test_one_step_is_sgd_with_nesterov_momentum_and_a_cosine_rate(planned):
    """Two steps of the loop against the textbook update, on a linear model in float64."""
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).double()
    images = torch.randint(256, (8, 3, 2, 2), generator=generator_for("test"), dtype=torch.uint8)
    labels = torch.arange(8) % 3
    spec = RunSpec(
        benchmark="b", data="", model="m", init="", seed=0, epochs=1, lr=0.1, batch_size=4, weight_decay=0.01
    )
    weight, velocity = model[1].weight.detach().clone(), 0
    order = torch.randperm(8, generator=generator_for("loader", spec.run_id, 1))
    bias, bias_velocity = model[1].bias.detach().clone(), 0
    for step, batch in enumerate(order.tensor_split(2)):
        x = images[batch].flatten(1).double() / 255
        residual = ((x @ weight.T + bias).softmax(1) - torch.eye(3, dtype=torch.float64)[labels[batch]]) / 4
        rate = 0.1 * (1 + math.cos(math.pi * step / 2)) / 2
        gradient, bias_gradient = residual.T @ x + 0.01 * weight, residual.sum(0) + 0.01 * bias
        velocity, bias_velocity = 0.9 * velocity + gradient, 0.9 * bias_velocity + bias_gradient
        weight, bias = weight - rate * (gradient + 0.9 * velocity), bias - rate * (bias_gradient + 0.9 * bias_velocity)
    optimizer = optimizers.create_optimizer(model.parameters(), spec)
    measured = loop.train_epoch(
        model,
        FineTune(),
        optimizer,
        TrainingData(images, labels, torch.arange(8), 4, lambda batch, generator: batch.double() / 255, spec.run_id),
        spec,
        1,
    )
    assert torch.allclose(model[1].weight, weight, atol=1e-12)
    assert torch.allclose(model[1].bias, bias, atol=1e-12)
    assert measured["n"] == 8


def test_an_unknown_optimizer_names_the_choices(planned):
    (spec,) = plan.plan("digits", "smoke", [0], optimizer="sdg")
    with pytest.raises(UserError, match="unknown optimizer 'sdg' .did you mean 'sgd'.*the nearest are sgd, "):
        execute.execute(spec, "cpu")


@pytest.mark.parametrize(
    "changes", [{"optimizer": "adamw", "lr": 1e-3}, {"backbone_lr_scale": 0.1}, {"tuned_on": "all"}], ids=str
)
def test_other_runs_resume_too(planned, monkeypatch, changes):
    (spec,) = plan.plan("digits", "smoke", [0], epochs=2, **changes)
    execute.execute(spec, "cpu")
    whole = contents(spec.run_id)
    shutil.rmtree(paths.run(spec.run_id))
    real = loop.train_epoch

    def stop_at_epoch_2(*arguments):
        if arguments[-1] == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(loop, "train_epoch", stop_at_epoch_2)
    with pytest.raises(KeyboardInterrupt):
        execute.execute(spec, "cpu")
    monkeypatch.setattr(loop, "train_epoch", real)
    execute.execute(spec, "cpu")
    assert contents(spec.run_id) == whole


def one_epoch(spec, optimized_by, freeze_backbone=False, n=48):
    """State dicts of the `digits` network before and after an epoch of `spec` on `n` images, in float64.

    The optimiser is that of the spec `optimized_by`, so that runs with other ids go through the same batches.
    """
    model = create.create_random_model("digits_cnn", 10, 0)
    if freeze_backbone:
        model.blocks.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    manifest = load_manifest("digits")
    loop.train_epoch(
        model,
        FineTune(),
        optimizers.create_optimizer(optimizers.parameter_groups(model, optimized_by), optimized_by),
        TrainingData(
            load_images(manifest),
            manifest.labels,
            torch.arange(n),
            spec.batch_size,
            lambda batch, generator: batch.double() / 255,
            spec.run_id,
        ),
        spec,
        1,
    )
    return before, model.state_dict()


def weights(state):
    """Without BatchNorm's statistics."""
    return {name: tensor for name, tensor in state.items() if "running" not in name and "num_batches" not in name}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_backbone_rate_of_zero_trains_the_head_alone(planned, optimizer):
    (spec,) = plan.plan("digits", "smoke", [0], optimizer=optimizer)
    before, after = one_epoch(spec, replace(spec, backbone_lr_scale=0.0))
    _, head_alone = one_epoch(spec, spec, freeze_backbone=True)
    assert all(torch.equal(after[name], head_alone[name]) for name in after)
    assert {name for name in weights(before) if not torch.equal(before[name], after[name])} == {
        "head.weight",
        "head.bias",
    }
    assert not torch.equal(before["blocks.1.running_mean"], after["blocks.1.running_mean"])


def test_a_backbone_rate_scales_a_step_of_the_backbone_and_not_of_the_head(planned):
    (spec,) = plan.plan("digits", "smoke", [0], momentum=0.0, weight_decay=0.01, batch_size=48)
    before, plain = one_epoch(spec, spec)
    _, scaled = one_epoch(spec, replace(spec, backbone_lr_scale=0.1))
    for name, start in weights(before).items():
        part = 1 if name.startswith("head.") else 0.1
        assert torch.allclose(scaled[name] - start, part * (plain[name] - start), rtol=0, atol=1e-15), name
        assert not torch.equal(plain[name], start)


def test_the_head_of_a_timm_model_is_its_classifier():
    model = create.create_model("resnet10t", 7)
    spec = RunSpec("b", "", "m", "", seed=0, epochs=1, lr=0.1)
    assert [id(p) for p in optimizers.parameter_groups(model, spec)] == [id(p) for p in model.parameters()]
    backbone, head = optimizers.parameter_groups(model, replace(spec, backbone_lr_scale=0.1))
    assert backbone["lr_scale"] == 0.1 and "lr_scale" not in head
    assert [tuple(p.shape) for p in head["params"]] == [(7, model.num_features), (7,)]
    assert {id(p) for group in (backbone, head) for p in group["params"]} == {id(p) for p in model.parameters()}


def test_the_upper_bound_trains_on_every_training_image_and_keeps_the_split(planned, digits_root):
    bound = plan.upper_bound(planned)
    execute.execute(bound, "cpu")
    manifest = load_manifest("digits")
    assert json.loads(paths.run_metrics(bound.run_id).read_text().splitlines()[-1])["n"] == len(manifest.rows("train"))
    runs = RunSet(manifest, (planned, bound), "cpu")
    assert runs.split(bound) == runs.split(planned) and runs.epochs(bound) == [0, planned.epochs]
    paths.run(planned.run_id).symlink_to(digits_root / "runs" / planned.run_id)
    assert torch.equal(runs.outputs(bound, 0, "test").logits, runs.outputs(planned, 0, "test").logits)
    absent = [runs.curve(spec, planned.epochs).at(0.0).acc_uy for spec in (planned, bound)]
    assert absent[1] > absent[0] + 0.3, "labels of absent classes help"
    assert not runs.split(bound).is_seen(runs.fine_tuning_outputs(bound, 0).labels).logical_not().any()


def test_wrong_values_of_the_recipe_are_refused_when_planned(planned):
    with pytest.raises(UserError, match=r"unknown tuned_on 'every'; available: all, seen"):
        plan.plan("digits", "smoke", [0], tuned_on="every")
    for scale in (-0.1, math.nan):
        with pytest.raises(UserError, match=f"backbone_lr_scale is {scale}; give a multiple of the learning rate"):
            plan.plan("digits", "smoke", [0], backbone_lr_scale=scale)


def test_augmentation_with_the_whole_area_and_no_flip_is_the_identity():
    x = torch.rand(5, 3, 16, 16, dtype=torch.float64)
    assert torch.allclose(augmentation.augment(x, (1.0, 1.0), False, generator_for("a")), x)


def test_flips_mirror_about_half_of_the_images():
    x = torch.rand(400, 1, 4, 4, dtype=torch.float64).expand(-1, 3, -1, -1)
    y = augmentation.augment(x, (1.0, 1.0), True, generator_for("a"))
    mirrored = torch.isclose(y, x.flip(3)).all((1, 2, 3))
    assert (mirrored | torch.isclose(y, x).all((1, 2, 3))).all()
    assert abs(mirrored.double().mean() - 0.5) < 4 * 0.5 / 20


def test_crops_cover_the_asked_share_of_the_area():
    """On a ramp from -1 to 1 a crop's spread is its side length, and it stays inside the picture."""
    ramp = ((torch.arange(64, dtype=torch.float64) + 0.5) / 32 - 1).expand(300, 3, 64, 64)
    y = augmentation.augment(ramp, (0.25, 0.64), False, generator_for("a"))
    side = (y[:, 0, 0, -1] - y[:, 0, 0, 0]) / (ramp[0, 0, 0, -1] - ramp[0, 0, 0, 0])
    assert 0.5 - 1e-6 <= side.min() < 0.55 and 0.75 < side.max() <= 0.8 + 1e-6
    assert y.abs().max() <= 1


def test_extraction_is_the_model_in_eval_mode(digits):
    spec, manifest = digits.specs[0], digits.manifest
    model = create.create_model(spec.model, 10).double()
    model.load_state_dict(files.read_tensors(paths.run_model(spec.run_id)))
    normalize = normalizer(manifest.head.mean, manifest.head.std, torch.float64, torch.device("cpu"))
    rows = manifest.rows("test")
    ours = extract(model.train(), load_images(digits.manifest), manifest.labels, rows, normalize, batch_size=7)
    stored = digits.outputs(spec, spec.epochs, "test")
    plain = model.eval()((load_images(digits.manifest)[rows].double() / 255 - 0.5) / 0.5)
    assert torch.allclose(ours.logits, plain, atol=1e-10) and torch.allclose(stored.logits, plain, atol=1e-10)
    assert torch.equal(stored.labels, manifest.labels[rows]) and torch.equal(stored.index, rows)
    head = files.read_tensors(paths.run_head(spec.run_id, spec.epochs))
    assert torch.allclose(stored.features @ head["weight"].T + head["bias"], stored.logits, atol=1e-10)


def test_validation_keeps_a_group_of_every_class_in_training(project):
    manifest = load_manifest("emoji")
    (spec,) = plan.plan("emoji", "default", [100], validation=True)
    parts = split_parts(manifest, spec, manifest.class_split(100))
    assert manifest.labels[parts["train"]].unique().tolist() == list(range(len(manifest.class_names)))
    assert len(parts["test"]) > 200


def test_a_run_says_where_it_runs_and_which_classes_a_part_lacks(planned, capsys, monkeypatch):
    body = load_manifest("digits").body
    lone = (body["label"] == 3) & (body["split"] == "train")
    monkeypatch.setattr(execute, "load_manifest", lambda name: with_one_cluster(load_manifest(name), lone))
    (spec,) = plan.plan("digits", "smoke", [0], validation=True, epochs=1)
    execute.execute(spec, "cpu")
    said = capsys.readouterr().err
    assert f"{spec.run_id} on cpu\n" in said
    assert f"{spec.run_id}: no test image of 1 of 10 classes, first 3\n" in said and "no train image" not in said


def with_one_cluster(manifest, rows):
    """The manifest with some rows in one cluster."""
    body = manifest.body.copy()
    body.loc[rows, "group"] = "one"
    return replace(manifest, body=body)


def test_dropout_draws_belong_to_the_run_and_epoch(planned):
    """A model with dropout trains to the same weights whatever was drawn before."""
    weights = []
    for _ in range(2):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(12, 3))
        torch.manual_seed(len(weights) + 5)
        loop.train_epoch(
            model,
            FineTune(),
            optimizers.create_optimizer(model.parameters(), planned),
            TrainingData(
                torch.ones(8, 3, 2, 2),
                torch.arange(8) % 3,
                torch.arange(8),
                planned.batch_size,
                lambda batch, generator: batch,
                planned.run_id,
            ),
            planned,
            1,
        )
        weights.append(model[2].weight.detach().clone())
    assert torch.equal(*weights)


def test_validation_runs_see_no_test_image(project):
    manifest = load_manifest("digits")
    (spec,) = plan.plan("digits", "smoke", [100], validation=True)
    parts = split_parts(manifest, spec, manifest.class_split(100))
    together = torch.cat([parts["train"], parts["test"]]).sort().values
    assert torch.equal(together, manifest.rows("train"))
    assert 0.15 < len(parts["test"]) / len(together) < 0.25
    groups = manifest.body["group"]
    assert not set(groups[parts["train"].tolist()]) & set(groups[parts["test"].tolist()])


def test_new_fields_keep_old_run_ids():
    """The id covers non-default fields only; this one must never change for an unchanged meaning."""
    spec = RunSpec(benchmark="b", data="d", model="m", init="i", seed=1, epochs=2, lr=0.5)
    assert (
        spec.run_id
        == "b-finetune-s1-"
        + hashlib.sha256(
            b'{"benchmark": "b", "data": "d", "epochs": 2, "init": "i", "lr": 0.5, "model": "m", "seed": 1}'
        ).hexdigest()[:10]
    )
    others = [{"momentum": 0.8}, {"backbone_lr_scale": 0.1}, {"tuned_on": "all"}]
    assert len({replace(spec, **changes).run_id for changes in [{}, *others]}) == 4


def test_every_optimizer_of_the_study_takes_a_step(random):
    for name in ("sgd", "adam", "adamw", "rmsprop", "adagrad", "adadelta"):
        for momentum in (0.0, 0.9):
            weight = torch.nn.Parameter(torch.ones(3))
            spec = RunSpec("b", "", "m", "", seed=0, epochs=1, lr=0.1, optimizer=name, momentum=momentum)
            optimizer = optimizers.create_optimizer([weight], spec)
            weight.sum().backward()
            optimizer.step()
            assert (weight < 1).all(), name
            assert optimizer.defaults["lr"] == 0.1 and optimizer.defaults["weight_decay"] == 1e-4


def test_without_momentum_sgd_is_plain_and_other_optimizers_stay_what_they_are(random):
    """Three steps on a quadratic, by hand for SGD, and by torch's own class for Adam."""
    start, target = torch.randn(2, 5, generator=random, dtype=torch.float64)

    def walk(make):
        weight = torch.nn.Parameter(start.clone())
        optimizer = make([weight])
        for _ in range(3):
            optimizer.zero_grad()
            (weight - target).square().sum().backward()
            optimizer.step()
        return weight.detach()

    def named(name, momentum):
        spec = RunSpec("b", "", "m", "", 0, epochs=1, lr=0.1, optimizer=name, momentum=momentum, weight_decay=0.25)
        return walk(lambda parameters: optimizers.create_optimizer(parameters, spec))

    by_hand = start
    for _ in range(3):
        by_hand = by_hand - 0.1 * (2 * (by_hand - target) + 0.25 * by_hand)
    assert torch.allclose(named("sgd", 0.0), by_hand, rtol=0, atol=1e-14)
    nesterov = walk(lambda parameters: torch.optim.SGD(parameters, 0.1, 0.5, weight_decay=0.25, nesterov=True))
    assert torch.equal(named("sgd", 0.5), nesterov) and not torch.allclose(nesterov, by_hand)
    adam = walk(lambda parameters: torch.optim.Adam(parameters, 0.1, weight_decay=0.25))
    assert torch.equal(named("adam", 0.0), adam) and torch.equal(named("adam", 0.5), adam)


def test_a_batch_of_one_without_variance_is_refused(planned):
    manifest = load_manifest("digits")
    model = create.create_model("test_resnet", 10)  # on 8 pixels its last BatchNorm sees one value of each channel
    images = load_images(manifest)[:, :, :8, :8]
    data = TrainingData(images, manifest.labels, torch.arange(3), 2, lambda x, g: x.float(), "odd")
    with pytest.raises(UserError, match="has a batch of one image, in which BatchNorm finds no variance"):
        loop.train(model, FineTune(), data, planned, lambda epoch, model: None)


def test_a_single_image_is_refused(planned):
    manifest = load_manifest("digits")
    model = create.create_model("digits_cnn", 10)
    data = TrainingData(load_images(manifest), manifest.labels, torch.tensor([3]), 32, lambda x, g: x, "one")
    with pytest.raises(UserError, match="has 1 image to train on and needs 2"):
        loop.train(model, FineTune(), data, planned, lambda epoch, model: None)
