"""The verb `finetune`: from a newcomer's folder to a checkpoint that plain timm loads, and what it trains on."""

import html
import json
import re
import shutil
from contextlib import nullcontext

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image

from analysis_lib import FoldRecipe, UserError, accuracies, shift_logits
from analysis_lib.benchmarks.user_images import open_source
from analysis_lib.core import files, paths
from analysis_lib.deploy import training
from analysis_lib.deploy.training import check_method, draw_held_out
from analysis_lib.methods import METHODS, read_options
from analysis_lib.models.gamma_bias import logits_of
from analysis_lib.models.petl import TECHNIQUES
from analysis_lib.training import loop
from tests.deploy.newcomer import ARCH, LOOK, NAMES, SEEN, SIZE, SPLIT, main, prepared

FOLDING = [name for name, technique in TECHNIQUES.items() if technique.folds and not technique.any_network]
SHORT = ["--no-augmentation", "--epochs", "2", "--lr", "0.02"]


def command(folder, output, *more):
    options = {"model": ARCH, "checkpoint": folder / "pretrained.pth", "classes": folder / "names.txt"}
    options |= {"data": folder / "train", "output": output}
    given = [part for name, value in options.items() for part in (f"--{name}", value)]
    return ["finetune", *given, *LOOK, *SHORT, *more]


def report_of(output):
    return json.loads(output.with_suffix(".json").read_text())


def plain_timm(path, arch=ARCH, **size):
    model = timm.create_model(arch, num_classes=10, **size)
    model.load_state_dict(safetensors.torch.load_file(path) if path.suffix == ".safetensors" else torch.load(path))
    return model


def opened(folder):
    """The files, the prepared images and the labels of a folder."""
    source = open_source(folder, "train")
    arrays = [torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1) for file in source.files]
    return source.files, prepared(torch.stack(arrays)), source.labels(NAMES, 10)


def written(folder):
    return {path.suffix: path.read_bytes() for path in folder.iterdir()}


def test_a_newcomer_gets_a_checkpoint_for_plain_timm(newcomer, project, capsys, monkeypatch):
    """Every accuracy of the report is measured again; `calibrate` on the same images finds the same gamma."""
    plain, calibrated = project / "out" / "plain.safetensors", project / "out" / "calibrated.safetensors"
    longer = ["--method", "finetune", "--epochs", "10", "--lr", "0.05", "--test", newcomer / "test"]
    assert main(command(newcomer, plain, *longer, "--no-calibrate")) == 0, capsys.readouterr().err
    monkeypatch.setattr(training, "train", None)
    assert main(command(newcomer, calibrated, *longer)) == 0, "gamma is chosen anew without training"
    printed = capsys.readouterr().out
    assert "160 samples of" in printed and "5 seen and 5 absent; 40 more held out; plain fine-tuning, 10 ep" in printed

    image_files, images, labels = opened(newcomer / "train")
    held_out = draw_held_out(labels, 0.2, "finetune")
    assert [int(held_out[labels == c].sum()) for c in SEEN] == [8] * 5
    models = {"pretrained": newcomer / "pretrained.pth", "before": plain, "after": calibrated}
    models = {row: plain_timm(path) for row, path in models.items()}
    _, test_images, test_labels = opened(newcomer / "test")
    report = report_of(calibrated)
    for row, model in models.items():
        all_five = accuracies(logits_of(model, test_images), test_labels, SPLIT)
        assert report["test"][row] == pytest.approx(all_five)
        own = accuracies(logits_of(model, images[held_out]), labels[held_out], SPLIT)
        assert report["held_out"][row] == pytest.approx({name: own[name] for name in ("acc_ss", "acc_sy")})
    logits = logits_of(models["before"], test_images)
    assert torch.allclose(
        logits_of(models["after"], test_images), shift_logits(logits, SPLIT, report["gamma"]), atol=1e-4
    )
    rows = report["test"]
    assert rows["before"]["acc_uy"] < rows["pretrained"]["acc_uy"] - 0.3, "fine-tuning loses absent classes"
    assert rows["after"]["acc_uy"] > rows["before"]["acc_uy"] + 0.3, "gamma brings them back"
    assert rows["after"]["acc_yy"] > max(rows["before"]["acc_yy"], rows["pretrained"]["acc_yy"])
    assert report["held_out"]["samples"] == 40 and report["samples"] == report["fine_tuning_data"]["samples"] == 160
    assert report["held_out"]["before"]["acc_sy"] > report["held_out"]["pretrained"]["acc_sy"]

    assert report["seen"] == SEEN and report["gamma_in_checkpoint"] and not report_of(plain)["gamma_in_checkpoint"]
    assert report["gamma"] == report_of(plain)["gamma"] > 0 and report["method"] == "stand_in"
    page = calibrated.with_suffix(".html").read_text()
    assert "On 40 held-out samples" in page and "<b>plain fine-tuning</b>: 10 epochs, sgd at learning rate 0.05" in page
    assert "is left out" in plain.with_suffix(".html").read_text() and "is left out" not in page
    scope: dict = {}
    code = html.unescape(re.search(r"<pre><code>(.*?)</code></pre>", page, re.DOTALL)[1])
    exec(code, scope)  # noqa: S102 (our own page)
    assert torch.equal(logits_of(scope["model"], test_images), logits_of(models["after"], test_images))

    lines = [f"{file.relative_to(newcomer)} {label}" for file, label in zip(image_files, labels.tolist())]
    (newcomer / "trained.txt").write_text("\n".join(line for line, out in zip(lines, held_out) if not out))
    again = ["calibrate", "--model", ARCH, "--checkpoint", plain, "--pretrained", newcomer / "pretrained.pth", *LOOK]
    again += ["--seen", ",".join(map(str, SEEN)), "--data", newcomer / "trained.txt"]
    assert main([*again, "--output", project / "again.safetensors"]) == 0, "a checkpoint without gamma is taken"
    assert report_of(project / "again.safetensors")["gamma"] == pytest.approx(report["gamma"], abs=1e-6)
    assert main(command(newcomer, project / "twice.safetensors", "--checkpoint", calibrated)) == 2
    assert "calibrated.safetensors is calibrated already" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["in training", "after training", "in writing"])
def test_an_interrupted_command_ends_with_the_same_bytes(newcomer, tmp_path, capsys, monkeypatch, where):
    def run(root, output):
        monkeypatch.setenv("FTC_ROOT", str(tmp_path / root))
        code = main(command(newcomer, tmp_path / output / "tuned.safetensors", "--method", "swa"))
        return code, written(tmp_path / output) if (tmp_path / output).exists() else {}

    code, whole = run("a", "out")
    shutil.rmtree(tmp_path / "out")
    assert code == 0 and len(whole) == 3
    with monkeypatch.context() as patch:
        if where == "in training":
            commit = loop.commit

            def interrupted(model, method, optimizer, spec, history):
                commit(model, method, optimizer, spec, history)
                if len(history) == 2:
                    raise KeyboardInterrupt

            patch.setattr(loop, "commit", interrupted)
        else:
            replace, name = files.os.replace, "model.safetensors" if where == "after training" else "tuned"

            def stopped(source, target):
                if name in str(target):
                    raise KeyboardInterrupt
                replace(source, target)

            patch.setattr(files.os, "replace", stopped)
        assert run("b", "out") == (130, {}), "nothing is half-written"
    if where == "in training":
        (kept,) = (tmp_path / "b" / "runs").rglob("checkpoint.safetensors")
        assert len(json.loads(files.read_metadata(kept)["history"])) == 2, "one epoch is done, and not made again"
    assert run("b", "out") == (0, whole)
    assert not list((tmp_path / "b").rglob("checkpoint.safetensors"))


def test_held_out_images_train_nothing(newcomer, tmp_path, monkeypatch):
    """Spoiling them leaves the trained weights, gamma and the checkpoint as they are."""
    shutil.copytree(newcomer / "train", tmp_path / "spoiled" / "train")
    image_files, _, labels = opened(tmp_path / "spoiled" / "train")
    random = np.random.default_rng(0)
    for row in draw_held_out(labels, 0.2, "finetune").nonzero().flatten():
        Image.fromarray(random.integers(0, 255, (32, 32, 3), np.uint8)).save(image_files[row])
    saved, reports = [], []
    for name, folder in (("honest", newcomer), ("spoiled", tmp_path / "spoiled")):
        monkeypatch.setenv("FTC_ROOT", str(tmp_path / name))
        output = tmp_path / f"{name}.safetensors"
        assert main(command(newcomer, output, "--data", folder / "train")) == 0
        (kept,) = (tmp_path / name / "runs").rglob("model.safetensors")
        saved.append([kept.parent.name, kept.read_bytes(), output.read_bytes()])
        reports.append(report_of(output))
    assert saved[0] == saved[1]
    assert reports[0]["gamma"] == reports[1]["gamma"] and reports[0]["held_out"] != reports[1]["held_out"]


def test_a_dry_run_checks_everything_and_writes_nothing(newcomer, project, capsys):
    before = sorted(project.rglob("*"))
    options = ["--dry-run", "--test", newcomer / "test", "--method", "ldifs", "--option", "weight=10", "--folds"]
    assert main(command(newcomer, project / "out" / "tuned.safetensors", *options)) == 0
    printed = capsys.readouterr().out
    assert "LDIFS, 2 epochs at sgd 0.02; 3 folds of 2 epochs at sgd 0.02; gamma by transported_cv" in printed
    assert "dry run: would write" in printed and sorted(project.rglob("*")) == before


def test_folds_repeat_the_same_method_on_the_images_that_are_trained_on(newcomer, project, capsys, monkeypatch):
    trained = []

    def spy(network, method, data, spec, after_epoch):
        trained.append((method, data.classes.tolist(), len(data.labels), len(data.rows)))
        loop.train(network, method, data, spec, after_epoch)

    monkeypatch.setattr(training, "train", spy)
    output = project / "tuned.safetensors"
    options = ["--folds", "--method", "distill_absent", "--option", "weight=0.5", "--option", "temperature=2"]
    assert main(command(newcomer, output, *options, "--epochs", "1")) == 0, capsys.readouterr().err
    assert [(type(method), method.weight) for method, *_ in trained] == [(METHODS["distill_absent"], 0.5)] * 4
    assert trained[0][-1] == 160 and {n for *_, n, _ in trained} == {160}
    left_out = [set(SEEN) - set(classes) for _, classes, *_ in trained]
    assert left_out[0] == set() and sorted(c for part in left_out for c in part) == SEEN
    report = report_of(output)
    assert report["method"] == "transported_cv" and report["folds"]["recipe"] == report["fine_tuning"]["recipe"]
    assert report["folds"]["recipe"]["options"] == [["weight", 0.5]], "the default temperature is left out"


def test_unlabelled_images_and_the_held_out_fifth_tell_the_absent_share(newcomer, project, capsys):
    reports = []
    for more in ([], ["--hold-out", "0"]):
        output = project / f"tuned{len(more)}.safetensors"
        assert main(command(newcomer, output, "--unlabelled", newcomer / "test", *more)) == 0, capsys.readouterr().err
        reports.append(report_of(output))
    assert reports[0]["method"] == "matched_stand_in (transductive)"
    share = reports[0]["absent_share"]
    assert share["source"] == "estimated" and share["estimate"]["n_held_out"] == reports[0]["held_out"]["samples"] == 40
    assert reports[1]["method"] == "stand_in" and reports[1]["absent_share"]["source"] == "classes"
    assert reports[1]["samples"] == 200 and "held_out" not in reports[1], "all images are trained on"


@pytest.fixture
def transformer(project):
    """The options of a small vision transformer with stored weights."""
    torch.manual_seed(0)
    torch.save(timm.create_model("test_vit", num_classes=10, img_size=SIZE).state_dict(), project / "vit.pth")
    return ["--model", "test_vit", "--checkpoint", project / "vit.pth", "--epochs", "1"]


def test_a_transformer_without_batchnorm_trains_by_an_added_loss(newcomer, project, capsys, transformer):
    output, model = project / "tuned.safetensors", plain_timm(project / "vit.pth", "test_vit", img_size=SIZE)
    assert main(command(newcomer, output, *transformer, "--method", "ldifs")) == 0, capsys.readouterr().err
    tuned, report = plain_timm(output, "test_vit", img_size=SIZE), report_of(output)
    _, images, labels = opened(newcomer / "train")
    held_out = draw_held_out(labels, 0.2, "finetune")
    own = accuracies(logits_of(tuned, images[held_out]), labels[held_out], SPLIT)
    assert report["held_out"]["after"] == pytest.approx({name: own[name] for name in ("acc_ss", "acc_sy")})
    moved = [name for name, tensor in tuned.state_dict().items() if not torch.equal(tensor, model.state_dict()[name])]
    assert any("blocks" in name for name in moved)


@pytest.mark.parametrize("method", FOLDING)
def test_inserted_modules_are_folded_into_the_checkpoint(newcomer, project, capsys, monkeypatch, transformer, method):
    trained = []

    def spy(network, *arguments):
        loop.train(network, *arguments)
        trained.append(network.eval())

    monkeypatch.setattr(training, "train", spy)
    output = project / "tuned.safetensors"
    assert main(command(newcomer, output, *transformer, "--method", method)) == 0, capsys.readouterr().err
    (network,), plain = trained, plain_timm(output, "test_vit", img_size=SIZE)
    before = plain_timm(project / "vit.pth", "test_vit", img_size=SIZE)
    _, images, _ = opened(newcomer / "test")
    gamma, logits = report_of(output)["gamma"], logits_of(network, images)
    assert torch.allclose(logits_of(plain, images), shift_logits(logits, SPLIT, gamma), atol=1e-4)
    assert not torch.allclose(logits, logits_of(before, images), atol=1e-2)


@pytest.mark.parametrize("method", ["houlsby", "vpt_deep"])
def test_modules_that_cannot_be_folded_are_refused_before_training(newcomer, project, capsys, transformer, method):
    assert main(command(newcomer, project / "out.safetensors", *transformer, "--method", method)) == 2
    assert re.match(
        rf"error: {method} inserts modules that no plain checkpoint can hold; choose another, such as .*lora, ",
        capsys.readouterr().err,
    )
    assert not list(project.glob("out*")) and not paths.runs().exists()


def test_a_fold_that_lacks_a_bias_is_refused_before_training():
    model = timm.create_model("test_vit", num_classes=10, img_size=SIZE, qkv_bias=False)
    with pytest.raises(UserError, match=r"^cannot fold into blocks.0.attn.qkv: it has no bias; choose another method$"):
        check_method(model, torch.tensor(SEEN), (3, SIZE, SIZE), FoldRecipe(2, 0.1, method="repadapter"))


def refusal(arch, method):
    """The start of the sentence with which a method is refused, if it is."""
    if not METHODS[method].folds:
        return f"{method} inserts modules that no plain checkpoint can hold"
    if method in TECHNIQUES and not TECHNIQUES[method].any_network and arch == ARCH:
        return ".* is inserted into the blocks of a timm vision transformer, and ResNet is none"
    if (arch, method) == ("test_vit", "batchnorm_statistics"):
        return "batchnorm_statistics finds nothing to train in VisionTransformer"
    return None


@pytest.mark.parametrize("arch", [ARCH, "test_vit"])
def test_every_method_can_train(arch):
    model = timm.create_model(arch, num_classes=10, **({"img_size": SIZE} if arch == "test_vit" else {})).eval()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name in METHODS:
        sentence = refusal(arch, name)
        with pytest.raises(UserError, match=sentence) if sentence else nullcontext():
            check_method(model, torch.tensor(SEEN), (3, SIZE, SIZE), FoldRecipe(2, 0.1, method=name))
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert not any(module.training for module in model.modules())


def test_a_method_that_an_architecture_does_not_fit_is_one_sentence():
    model = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=10, img_size=SIZE)
    check_method(model, torch.tensor(SEEN), (3, SIZE, SIZE), FoldRecipe(1, 0.1))
    for name, size in (("distill", SIZE), ("finetune", SIZE + 1)):
        with pytest.raises(
            UserError, match=rf"^{name} cannot train \w+ on images of {size}x{size} pixels \(.*\); choo"
        ):
            check_method(model, torch.tensor(SEEN), (3, size, size), FoldRecipe(1, 0.1, method=name))


def test_options_get_the_type_of_their_field():
    assert read_options("ldifs", ["weight=10", "axis=token"]) == (("axis", "token"), ("weight", 10.0))
    assert read_options("lolsgd", ["local_runs=2", "left_out=0.3"]) == (("local_runs", 2),)
    assert type(read_options("lolsgd", ["local_runs=2"])[0][1]) is int


def test_the_methods_are_listed(capsys):
    with pytest.raises(SystemExit) as end:
        main(["finetune", "--list-methods"])
    lines = capsys.readouterr().out.splitlines()
    assert end.value.code == 0 and len(lines) == len(METHODS)
    assert next(line for line in lines if line.startswith("ldifs")).endswith("LDIFS; weight=1000.0, axis=channel")


MISTAKES = {
    "--method ldif": r"unknown method 'ldif' \(did you mean 'ldifs'\?\)",
    "--method ldifs --option wieght=1": r"unknown option of ldifs 'wieght' \(did you mean 'weight'\?\)",
    "--method ldifs --option weight=big": r"'weight=big' is no weight=VALUE with a value of type float",
    "--method ldifs --option weight=nan": r"'weight=nan' is no weight=VALUE with a value of type float",
    "--method ldifs --option axis": r"'axis' is no axis=VALUE with a value of type str",
    "--method ldifs --option axis=row": r"unknown axis 'row'; available: channel, token",
    "--method finetune --option weight=1": r"finetune has no options; leave out 'weight=1'",
    "--hold-out 1": r"--hold-out is 1.0; give a fraction from 0 to below 1",
    "--epochs 0": r"epochs of the recipe is 0; give a positive number",
    "--lr 0": r"lr of the recipe is 0.0; give a positive learning rate",
    "--lr 1e30": r"the loss became \S+ in run finetune-finetune-s0-\w+ at epoch 1, step \d; lower the learning rate",
    "--backbone-lr-scale -1": r"backbone_lr_scale of the recipe is -1.0; give 0 or more",
    "--optimizer sdg": r"unknown optimizer 'sdg'",
    "--batch-size 0": r"--batch-size is 0; give a positive number",
    "--seen ash": r"the fine-tuning data holds 160 samples of class 2 or others that are not among the seen classes",
    "--seen 0,1,2,3,6,9": r"the seen class birch has no image in \S+train; add images of it, or leave it out of --seen",
    "--data N/test": r"\S+test has images of all 10 classes, so none is absent",
    "--data N/logits.npz": r"\S+logits.npz holds ready logits, and finetune trains on images",
    "--data N/none": r"there is no \S+none; give a folder",
    "--test N/logits.npz": r"--data and --test are of different kinds",
    "--test N/train": r"\S+train has no absent class; --test takes samples of both",
    "--checkpoint N/none.pth": r"there is no file \S+none.pth; check the path",
    "--model resnet-18": r"unknown timm architecture 'resnet-18'",
    "--calibration best": r"unknown method 'best'; available: alg",
    "--calibration transported_cv": r"transported_cv trains folds; allow them with --folds",
    "--calibration alg --folds": r"alg has no use for folds",
    "--absent-share 0.2 --calibration alg": r"alg has no use for an absent share",
    "--device gpu": r"device 'gpu' cannot be used here",
    "--output OUT.pth": r"--output is out.pth; its name must end in .safetensors here",
}


@pytest.mark.parametrize("options", MISTAKES)
def test_a_mistake_is_one_sentence_and_nothing_is_half_written(newcomer, project, capsys, options):
    given = re.sub(r"(?<!\S)N/", f"{newcomer}/", options).replace("OUT", f"{project}/out").split()
    assert main(command(newcomer, project / "out.safetensors", *given)) == 2
    *log, sentence = capsys.readouterr().err.splitlines()
    assert re.match(rf"error: (?:{MISTAKES[options]})", sentence) and (not log or "1e30" in options)
    assert not list(project.glob("out*")) and not list(project.glob("runs/*/model.safetensors"))
    assert paths.runs().exists() == ("1e30" in options), "nothing is trained before everything is checked"


def test_images_that_cannot_be_read_are_named_before_training(newcomer, project, capsys):
    shutil.copytree(newcomer / "test", project / "test")
    bad = project / "test" / NAMES[0] / "0000.png"
    bad.write_bytes(b"no image")
    assert main(command(newcomer, project / "out.safetensors", "--test", project / "test")) == 2
    assert "1 of 400 images cannot be read, first test/ash/0000.png" in capsys.readouterr().err
    assert not paths.runs().exists()
