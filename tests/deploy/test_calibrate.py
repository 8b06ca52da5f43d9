"""The door for other people's models: `calibrate`, and the verb on files that a newcomer's own loop made."""

import hashlib
import html
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image
from torch import nn

from analysis_lib import (
    UserError,
    accuracies,
    average_logit_gap,
    matched_share_gamma,
    seen_absent_curve,
    shift_logits,
    stand_in_gamma,
)
from analysis_lib.analysis.gamma.estimators import PRETRAINED, offered
from analysis_lib.benchmarks.manifest import COLUMNS, save_manifest
from analysis_lib.benchmarks.user_images import ImageBatches, open_source
from analysis_lib.core import external_files, files, paths
from analysis_lib.core.device import pick_device
from analysis_lib.deploy.calibrate import assess, calibrate, calibrate_logits
from analysis_lib.models.gamma_bias import logits_of
from tests.deploy.newcomer import ARCH, LOOK, NAMES, SEEN, SIZE, SPLIT, dataset, main, prepared, waves


def command(folder, output, *more):
    return [
        "calibrate",
        "--model",
        ARCH,
        "--checkpoint",
        folder / "finetuned.pth",
        "--pretrained",
        folder / "pretrained.pth",
        "--seen",
        ",".join(NAMES[c] for c in SEEN),
        "--classes",
        folder / "names.txt",
        "--data",
        folder / "train",
        "--output",
        output,
        *LOOK,
        *more,
    ]


def test_a_newcomer_gets_the_absent_classes_back(newcomer, tmp_path, capsys):
    output = tmp_path / "new" / "calibrated.safetensors"
    assert main(command(newcomer, output, "--test", newcomer / "test", "--method", "max_gap_change")) == 0
    printed = capsys.readouterr().out
    assert "200 samples of" in printed and "5 seen and 5 absent" in printed

    test = open_source(newcomer / "test", "test")
    images = torch.stack(
        [prepared(torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1)) for file in test.files]
    )
    labels = test.labels(NAMES, 10)
    accuracy = {}
    for name, state in (
        ("before", external_files.read_weights(newcomer / "finetuned.pth")[0]),
        ("after", safetensors.torch.load_file(output)),
    ):
        plain = timm.create_model(ARCH, num_classes=10)
        plain.load_state_dict(state)
        accuracy[name] = accuracies(logits_of(plain, images), labels, SPLIT)
    assert accuracy["before"]["acc_uy"] < 0.1, "fine-tuning lost them"
    assert accuracy["after"]["acc_uy"] > 0.2, "calibration brings them back"
    assert accuracy["after"]["acc_yy"] > accuracy["before"]["acc_yy"]
    assert accuracy["after"]["acc_uu"] == accuracy["before"]["acc_uu"]

    report = json.loads(output.with_suffix(".json").read_text())
    for name, measured in accuracy.items():
        assert report["test"][name] == pytest.approx(measured), "the report measures what plain timm measures"
    assert report["seen"] == SEEN and report["class_names"] == NAMES and report["samples"] == 200
    assert report["device"] == pick_device().type and f"pixels on {report['device']}; " in printed
    assert report["test"]["oracle"]["acc_yy"] >= report["test"]["after"]["acc_yy"] > 0
    assert {row["seen"] for row in report["test"]["seen_confusions"]} <= set(SEEN)
    with safetensors.safe_open(output, framework="pt") as file:
        assert float(file.metadata()["analysis_lib.gamma"]) == report["gamma"] > 0
    page = output.with_suffix(".html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 5 and "oracle" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page), "self-contained"
    assert "model.load_state_dict(safetensors.torch.load_file(" in page
    assert len(list(output.parent.iterdir())) == 3

    assert (
        main(
            [
                "calibrate",
                "--model",
                ARCH,
                "--checkpoint",
                output,
                *command(newcomer, tmp_path / "twice.safetensors")[5:],
            ]
        )
        == 2
    )
    assert re.search(
        r"calibrated.safetensors is calibrated already \(gamma = [\d.]+\); give the checkpoint as it was",
        capsys.readouterr().err,
    )
    assert not (tmp_path / "twice.safetensors").exists()


def test_the_same_command_writes_the_same_bytes_and_a_dry_run_none(newcomer, tmp_path, capsys):
    output = tmp_path / "out.safetensors"
    assert main(command(newcomer, output, "--test", newcomer / "test", "--dry-run")) == 0
    assert "dry run: would write" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    saved = []
    for _ in range(2):
        assert main(command(newcomer, output)) == 0
        saved.append([output.with_suffix(suffix).read_bytes() for suffix in (".safetensors", ".json", ".html")])
    assert saved[0] == saved[1]
    report = json.loads(saved[0][1])
    assert "test" not in report and any("pass them with --test" in line for line in report["advice"])


def test_lists_ids_and_test_folders_name_the_same_classes(newcomer, tmp_path, capsys):
    """Folder and list, names and ids, --classes and the folders of --test: one gamma."""
    (tmp_path / "seen.txt").write_text("\n".join(NAMES[c] for c in SEEN))
    rows = [
        f"train/{file.parent.name}/{file.name} {NAMES.index(file.parent.name)}"
        for file in sorted((newcomer / "train").rglob("*.png"))
    ]
    (newcomer / "list.txt").write_text("\n".join(rows) + "\n")
    base = command(newcomer, tmp_path / "out.safetensors")
    plain = [argument for i, argument in enumerate(base) if "--classes" not in (argument, base[i - 1])]
    variants = {
        "names": base,
        "ids": [*base, "--seen", ",".join(map(str, SEEN))],
        "file": [*base, "--seen", tmp_path / "seen.txt"],
        "list": [*plain, "--data", newcomer / "list.txt", "--seen", ",".join(map(str, SEEN))],
        "folders of the test data": [*plain, "--test", newcomer / "test"],
        "batches": [*base, "--batch-size", "7"],
    }
    gammas = {}
    for name, arguments in variants.items():
        assert main(arguments) == 0, capsys.readouterr().err
        gammas[name] = json.loads((tmp_path / "out.json").read_text())["gamma"]
    assert gammas == pytest.approx(dict.fromkeys(variants, gammas["names"]), abs=1e-4)


def test_a_manifest_gives_its_training_images_of_the_seen_classes_and_its_test_images(newcomer, project, capsys):
    """Half of every test class plays the training part; the same images as folders give the same report."""
    rows = []
    for label, name in enumerate(NAMES):
        for i, file in enumerate(sorted((newcomer / "test" / name).iterdir())):
            part = "train" if i % 2 else "test"
            rows.append((f"{name}/{file.name}", label, part, file.name, hashlib.sha256(file.read_bytes()).hexdigest()))
            for root in ("all", part) if part == "test" or label in SEEN else ("all",):
                (project / root / name).mkdir(parents=True, exist_ok=True)
                shutil.copy(file, project / root / name)
    head = json.loads(paths.manifest_head("digits").read_text()) | {
        "name": "mine",
        "builder": "folder",
        "source": "all",
        "class_names": NAMES,
    }
    save_manifest(head, pd.DataFrame(rows, columns=COLUMNS))
    base = command(newcomer, project / "out.safetensors")
    plain = [argument for i, argument in enumerate(base) if "--classes" not in (argument, base[i - 1])]
    reports = []
    for data, test in ((project / "train", project / "test"), (paths.manifest_head("mine"),) * 2):
        assert main([*plain, "--data", data, "--test", test]) == 0, capsys.readouterr().err
        reports.append(json.loads((project / "out.json").read_text()))
        assert reports[-1].pop("data") == str(data)
    assert reports[0] == reports[1] and reports[0]["samples"] == 100 and reports[0]["test"]["samples"] == 200
    elsewhere = project / "elsewhere"
    elsewhere.mkdir()
    for suffix in (".json", ".csv"):
        shutil.copy(paths.manifest_head("mine").with_suffix(suffix), elsewhere)
    (elsewhere / "all").symlink_to(project / "all")
    assert main([*plain, "--data", elsewhere / "mine.json", "--dry-run"]) == 0, "images beside a manifest of one's own"
    (project / "all" / NAMES[0] / rows[1][0].rpartition("/")[2]).write_bytes(b"other")
    assert main([*plain, "--data", paths.manifest_head("mine")]) == 2
    assert (
        "1 of 200 train images of data_manifests/mine.json are missing or not as listed, first all/ash/"
        in capsys.readouterr().err
    )
    assert main([*plain, "--data", paths.manifest_head("digits")]) == 2
    assert "are made by 'digits' and are no files" in capsys.readouterr().err


def test_calibrate_is_the_estimator_on_eval_logits_and_the_fold(newcomer):
    state = torch.load(newcomer / "pretrained.pth", weights_only=True)
    model = timm.create_model(ARCH, num_classes=10)
    model.load_state_dict(state)
    images, labels = dataset(SEEN, 8, True, torch.Generator().manual_seed(1))
    loader = [(prepared(x), y) for x, y in zip(images.split(16), labels.split(16))]
    result = calibrate(model.train(), loader, seen=SEEN)
    logits = logits_of(model, prepared(images))
    assert result.gamma == pytest.approx(average_logit_gap(logits, labels, SPLIT), abs=1e-5)
    assert torch.allclose(
        logits_of(result.model, prepared(images)), shift_logits(logits, SPLIT, result.gamma), atol=1e-4
    )
    assert result.report["gamma"] == result.gamma and result.report["fine_tuning_data"]["samples"] == 40
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), state.values())), (
        "BatchNorm statistics did not move"
    )
    with pytest.raises(UserError, match="already carries gamma"):
        calibrate(result.model, loader, seen=SEEN)
    compared = calibrate(model, loader, seen=SEEN, method="max_gap_change", pretrained=model)
    assert compared.gamma == 0
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), compared.model.state_dict().values())), (
        "gamma = 0 changes nothing"
    )


def test_absent_class_data_is_refused_before_any_estimate():
    """The leak check, for each way in."""
    model = nn.Sequential(nn.Linear(4, 10))
    with pytest.raises(
        UserError,
        match="holds 1 samples of class 1 or others that are not among the seen classes; gamma must not see absent",
    ):
        calibrate(
            model, [(torch.rand(2, 4), torch.tensor([0, 2])), (torch.rand(2, 4), torch.tensor([1, 3]))], seen=SEEN
        )
    with pytest.raises(UserError, match="gamma must not see absent classes"):
        calibrate_logits(torch.rand(2, 10), torch.tensor([0, 1]), seen=SEEN)
    with pytest.raises(UserError, match=r"label 10 is outside 0\.\.9"):
        calibrate_logits(torch.rand(2, 10), torch.tensor([0, 10]), seen=SEEN)
    with pytest.raises(UserError, match="the data has no batch"):
        calibrate(model, [], seen=SEEN)
    with pytest.raises(UserError, match="unknown method 'algg'"):
        calibrate(model, [], seen=SEEN, method="algg")
    with pytest.raises(UserError, match="the pre-trained model has 9 outputs and the fine-tuned one 10"):
        calibrate(model, [(torch.rand(2, 4), torch.tensor([0, 2]))], seen=SEEN, pretrained=nn.Linear(4, 9))


def test_test_data_measures_and_never_chooses(tmp_path, capsys):
    """Spoiling everything about the test data leaves gamma as it is."""
    random = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(50, 10, generator=random) + 2 * SPLIT.seen_mask, torch.tensor(SEEN).repeat(10)
    np.savez(tmp_path / "train.npz", logits=logits.numpy(), labels=labels.numpy())
    gammas = []
    for seed in (1, 2):
        test = torch.randn(40, 10, generator=random.manual_seed(seed)), torch.randperm(40, generator=random) % 10
        np.savez(tmp_path / "test.npz", logits=test[0].numpy(), labels=test[1].numpy())
        assert (
            main(
                [
                    "calibrate",
                    "--data",
                    tmp_path / "train.npz",
                    "--test",
                    tmp_path / "test.npz",
                    "--method",
                    "alg",
                    "--seen",
                    "0,2,3,6,9",
                    "--output",
                    tmp_path / "o.json",
                ]
            )
            == 0
        )
        report = json.loads((tmp_path / "o.json").read_text())
        gammas.append(report["gamma"])
        assert report["test"] == assess(*test, SPLIT, gammas[-1])
    assert gammas[0] == gammas[1] == pytest.approx(average_logit_gap(logits, labels, SPLIT))


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".csv"])
def test_ready_logits_give_gamma_a_report_and_a_page(tmp_path, capsys, suffix):
    random = torch.Generator().manual_seed(4)
    logits, labels = torch.randn(60, 10, generator=random) + SPLIT.seen_mask, torch.tensor(SEEN).repeat(12)
    before = torch.randn(60, 10, generator=random)
    for name, z in (("tuned", logits), ("pre", before)):
        path = tmp_path / f"{name}{suffix}"
        if suffix == ".npz":
            np.savez(path, logits=z.numpy(), labels=labels.numpy().astype("int32"))
        elif suffix == ".csv":
            pd.DataFrame({"labels": labels} | {f"logits_{c}": z[:, c] for c in reversed(range(10))}).to_csv(
                path, index=False
            )
        else:
            safetensors.torch.save_file({"logits": z, "labels": labels}, path)
    common = [
        "calibrate",
        "--data",
        tmp_path / f"tuned{suffix}",
        "--pretrained",
        tmp_path / f"pre{suffix}",
        "--seen",
        "0,2,3,6,9",
    ]
    for method in offered(frozenset({PRETRAINED})):
        assert main([*common, "--output", tmp_path / f"{method}.json", "--method", method]) == 0, (
            capsys.readouterr().err
        )
        expected = calibrate_logits(logits, labels, SEEN, method, before).gamma
        assert json.loads((tmp_path / f"{method}.json").read_text())["gamma"] == pytest.approx(expected, abs=1e-6)
        assert f"gamma = {expected:.4f} by {method}" in capsys.readouterr().out
        assert (tmp_path / f"{method}.html").exists() and not (tmp_path / f"{method}.safetensors").exists()


@pytest.fixture
def shifted():
    """Logits in which the seen classes lead by 4, a third of the unlabelled samples are absent, and stand-ins work."""
    random = torch.Generator().manual_seed(4)

    def samples(labels):
        return torch.randn(len(labels), 10, generator=random) + 4 * torch.eye(10)[labels]

    train, held_out = torch.tensor(SEEN).repeat(60), torch.tensor(SEEN).repeat(60)
    unlabelled = torch.cat([torch.tensor(SEEN).repeat(40), torch.tensor(SPLIT.absent).repeat(20)])
    lead = 4.0 * SPLIT.seen_mask
    before = samples(train)
    return {
        "train": (before + lead, train),
        "pre": (before, train),
        "held_out": (samples(held_out) + lead, held_out),
        "unlabelled": (samples(unlabelled) + lead, unlabelled),
    }


def test_unlabelled_samples_tell_the_absent_share_and_choose_gamma(shifted):
    """By default the share is that of the classes; a given one comes before the estimate, which comes before that."""
    (train, labels), (before, _), (held_out, _), (pool, pool_labels) = (
        shifted[name] for name in ("train", "pre", "held_out", "unlabelled")
    )
    found = calibrate_logits(train, labels, SEEN, "auto", before, None, pool, held_out)
    share = found.report["absent_share"]
    assert found.report["method"] == "matched_stand_in (transductive)" and share["source"] == "estimated"
    assert share["value"] == share["estimate"]["share"] == pytest.approx(1 / 3, abs=0.12)
    assert share["estimate"]["low"] <= 1 / 3 <= share["estimate"]["high"]
    assert (share["estimate"]["n_unlabelled"], share["estimate"]["n_held_out"]) == (300, 300)
    stand_in = stand_in_gamma(train, before, labels, SPLIT, absent_share=share["value"])
    matched = matched_share_gamma(pool, SPLIT, share["value"])
    assert found.gamma == pytest.approx((stand_in + matched) / 2)
    right = assess(pool, pool_labels, SPLIT, found.gamma)
    assert right["after"]["acc_yy"] > right["before"]["acc_yy"] + 0.2

    given = calibrate_logits(train, labels, SEEN, "stand_in", before, 0.9, pool, held_out)
    assert given.report["absent_share"] == {"value": 0.9, "source": "given", "estimate": share["estimate"]}
    assert given.gamma == stand_in_gamma(train, before, labels, SPLIT, absent_share=0.9)
    untold = calibrate_logits(train, labels, SEEN, "auto", before, None, pool)
    assert untold.report["method"] == "stand_in", "matching does harm where the share of the pool is unknown"
    assert untold.report["absent_share"] == {"value": 0.5, "source": "classes", "estimate": None}
    assert untold.gamma == stand_in_gamma(train, before, labels, SPLIT)
    alone = calibrate_logits(train, labels, SEEN, "auto", None, None, pool, held_out)
    assert alone.gamma == matched_share_gamma(pool, SPLIT, share["value"])
    assert calibrate_logits(train, labels, SEEN, "alg").report["absent_share"] is None


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".safetensors"])
def test_the_command_line_takes_unlabelled_logits_and_a_share(shifted, tmp_path, capsys, suffix):
    def save(name, logits, labels=None):
        tensors = {"logits": logits} | ({} if labels is None else {"labels": labels})
        path = tmp_path / f"{name}{suffix}"
        if suffix == ".npz":
            np.savez(path, **{key: tensor.numpy() for key, tensor in tensors.items()})
        elif suffix == ".csv":
            columns = {f"logits_{c}": logits[:, c].numpy() for c in range(10)}
            columns |= {} if labels is None else {"labels": labels.numpy()}
            pd.DataFrame(columns).to_csv(path, index=False)
        else:
            safetensors.torch.save_file(tensors, path)
        return path

    (train, labels), (before, _), (held_out, held_out_labels), (pool, _) = shifted.values()
    base = ["calibrate", "--data", save("train", train, labels), "--pretrained", save("pre", before, labels)]
    base += ["--seen", "0,2,3,6,9", "--output", tmp_path / "out.json"]
    unlabelled = ["--unlabelled", save("pool", pool), "--held-out", save("held", held_out, held_out_labels)]
    expected = calibrate_logits(train, labels, SEEN, "auto", before, None, pool, held_out)
    for options, method, source, line in (
        (unlabelled, "matched_stand_in (transductive)", "estimated", "The share of absent samples is estimated as"),
        ([*unlabelled, "--absent-share", "0.95"], "matched_stand_in (transductive)", "given", "say otherwise"),
        ([*unlabelled, "--method", "matched_share"], "matched_share (transductive)", "estimated", "estimated as"),
        (["--absent-share", "0.1"], "stand_in", "given", "The share of absent samples was given: 10%."),
        ([], "stand_in", "classes", "50% of the samples in use are assumed to be of absent classes"),
    ):
        assert main([*base, *options]) == 0, capsys.readouterr().err
        report = json.loads((tmp_path / "out.json").read_text())
        assert report["method"] == method and report["absent_share"]["source"] == source
        assert any(line in said for said in report["advice"]) and line in capsys.readouterr().out
        assert "Assumed share of absent samples in use:" in (tmp_path / "out.html").read_text()
        if options is unlabelled:
            assert report["gamma"] == pytest.approx(expected.gamma, abs=1e-6)


def test_the_command_line_takes_unlabelled_images(newcomer, tmp_path, capsys):
    """A flat folder of images is enough, and equals the same images given as logits."""
    (tmp_path / "flat").mkdir()
    for file in sorted((newcomer / "test").rglob("*.png")):
        shutil.copy(file, tmp_path / "flat" / f"{NAMES.index(file.parent.name)}_{file.name}")
    for c in SEEN:
        shutil.copytree(newcomer / "test" / NAMES[c], tmp_path / "held" / NAMES[c])
    output = tmp_path / "out.safetensors"
    options = ["--unlabelled", tmp_path / "flat", "--held-out", tmp_path / "held"]
    assert main(command(newcomer, output, *options)) == 0, capsys.readouterr().err
    report = json.loads(output.with_suffix(".json").read_text())
    estimate = report["absent_share"]["estimate"]
    assert (estimate["n_unlabelled"], estimate["n_held_out"]) == (400, 200) and estimate["low"] <= 0.5
    assert set(report["held_out"]) == {"samples", "pretrained", "before", "after"}
    models = []
    for name in ("finetuned", "pretrained"):
        models.append(timm.create_model(ARCH, num_classes=10))
        models[-1].load_state_dict(external_files.read_weights(newcomer / f"{name}.pth")[0])
    loaders = []
    for folder in (newcomer / "train", tmp_path / "held"):
        source = open_source(folder, "test")
        loaders.append([(pictures(source.files), source.labels(NAMES, 10))])
    images = pictures(sorted((tmp_path / "flat").iterdir()))
    for batches in ([images], [(images, torch.full((400,), 99))]):
        found = calibrate(
            models[0], loaders[0], SEEN, "auto", models[1], unlabelled_loader=batches, held_out_loader=loaders[1]
        )
        assert found.gamma == pytest.approx(report["gamma"], abs=1e-3)
        assert found.report["absent_share"]["value"] == pytest.approx(report["absent_share"]["value"], abs=0.02)


def pictures(image_files):
    """The prepared images of files, (N, 3, 32, 32)."""
    arrays = [np.asarray(Image.open(file)).copy() for file in image_files]
    return torch.stack([prepared(torch.from_numpy(array).permute(2, 0, 1)) for array in arrays])


def test_a_share_or_images_without_a_use_are_refused(shifted):
    (train, labels), (before, _), (held_out, _), (pool, _) = shifted.values()
    takers = "leave that out, or choose one of the methods stand_in, stand_in_sure, .*matched_share, matched_stand_in"
    for arguments, sentence in (
        (("alg", before, 0.3), f"alg has no use for an absent share; {takers}"),
        (("auto", None, 0.3), f"max_gap has no use for an absent share; {takers}"),
        (("alg", before, None, pool), f"alg has no use for unlabelled images; {takers}"),
        (("stand_in", before, 1.3), "the share of absent samples is 1.3; expected a fraction from 0 to 1"),
        (("stand_in", before, None, None, held_out), "held-out images of seen classes serve only to estimate"),
        (("matched_share", before), "looks at unlabelled images of the target; give them, or choose another"),
        (("matched_stand_in", None, None, pool), "compares with the pre-trained model"),
        (("stand_in", before, None, pool[:, :9], held_out), r"the target logits have shape \(300, 9\)"),
    ):
        with pytest.raises(UserError, match=sentence):
            calibrate_logits(train, labels, SEEN, *arguments)
    with pytest.raises(UserError, match="the unlabelled data has no batch"):
        calibrate(nn.Linear(4, 10), [(torch.rand(2, 4), torch.tensor([0, 2]))], SEEN, "matched_share", None, 0.5, [])


def test_assess_adds_up():
    random = torch.Generator().manual_seed(2)
    labels = torch.arange(200) % 10
    logits = torch.randn(200, 10, generator=random) + 2 * torch.eye(10)[labels] + 3 * SPLIT.seen_mask
    found = assess(logits, labels, SPLIT, 3.0)
    lost = ~SPLIT.is_seen(labels) & SPLIT.is_seen(logits.argmax(1))
    assert (
        sum(row["before"] for row in found["seen_confusions"])
        == lost.sum()
        > sum(row["after"] for row in found["seen_confusions"])
    )
    assert {row["of"] for row in found["seen_confusions"]} == {20}
    assert found["before"] == accuracies(logits, labels, SPLIT)
    assert found["after"] == accuracies(shift_logits(logits, SPLIT, 3.0), labels, SPLIT)
    assert (
        found["oracle"]["acc_yy"] == seen_absent_curve(logits, labels, SPLIT).best().acc_yy >= found["after"]["acc_yy"]
    )
    for group, word in ((SPLIT.is_seen(labels), "seen"), (~SPLIT.is_seen(labels), "absent")):
        with pytest.raises(UserError, match=f"the test data has only {word} classes"):
            assess(logits[group], labels[group], SPLIT, 3.0)


class Bomb:
    def __reduce__(self):
        return (print, ("code in a checkpoint ran",))


@pytest.fixture(scope="module")
def mistakes(newcomer, tmp_path_factory):
    """Inputs with something wrong with each, beside the good ones."""
    folder = tmp_path_factory.mktemp("mistakes")
    state = timm.create_model(ARCH, num_classes=10).state_dict()
    torch.save(timm.create_model(ARCH, num_classes=4).state_dict(), folder / "four.pth")
    torch.save(timm.create_model(ARCH, num_classes=10), folder / "whole.pth")
    torch.save({"state_dict": state, "x": Bomb()}, folder / "bomb.pth")
    torch.save([1, 2], folder / "list.pth")
    torch.save({"fc.weight": state["fc.weight"], "odd": torch.zeros(1)}, folder / "part.pth")
    safetensors.torch.save_file(
        {f"{name}": tensor for name, tensor in state.items()},
        folder / "marked.safetensors",
        {"analysis_lib.gamma": "1.5"},
    )
    (folder / "damaged.pth").write_bytes((newcomer / "finetuned.pth").read_bytes()[:999])
    (folder / "damaged.safetensors").write_bytes(b"12345678")
    (folder / "damaged.npz").write_bytes(b"PK nothing")
    np.savez(folder / "objects.npz", logits=np.array([{}], dtype=object), labels=[0])
    np.savez(folder / "unlabelled.npz", logits=np.zeros((2, 10)))
    np.savez(folder / "shape.npz", logits=np.zeros((2, 10)), labels=[0])
    np.savez(folder / "half.npz", logits=np.zeros((2, 10)), labels=[0.5, 2])
    np.savez(folder / "nan.npz", logits=np.full((2, 10), np.nan), labels=[0, 2])
    np.savez(folder / "good.npz", logits=np.arange(20.0).reshape(2, 10), labels=[0, 2])
    np.savez(folder / "other.npz", logits=np.arange(20.0).reshape(2, 10), labels=[2, 0])
    np.savez(folder / "absent.npz", logits=np.zeros((2, 10)), labels=[0, 1])
    np.savez(folder / "narrow.npz", logits=np.zeros((2, 4)), labels=[0, 2])
    pd.DataFrame({"label": [0], "logits_0": [1.0]}).to_csv(folder / "columns.csv", index=False)
    (folder / "words.csv").write_text("labels,logits_0,logits_1\n0,a,b\n")
    (folder / "three.txt").write_text("a\nb\nc\n")
    (folder / "broken" / NAMES[0]).mkdir(parents=True)
    (folder / "broken" / NAMES[0] / "a.png").write_bytes(b"no image")
    (folder / "broken" / NAMES[0] / "b.png").write_bytes(b"")
    (folder / "empty" / "ash").mkdir(parents=True)
    for c in range(10):
        (folder / "numbers" / str(c * 3)).mkdir(parents=True)
    save = Image.new("RGB", (40, 40))
    save.save(folder / "numbers" / "27" / "a.png")
    save.save(folder / "a.png")
    lines = {
        "outside": "../a.png 0",
        "gone": "b.png 0",
        "unlabelled": "a.png",
        "name": "a.png oak",
        "blank": "",
        "far": "a.png 77",
    }
    for name, line in lines.items():
        (folder / f"{name}.txt").write_text(line + "\n")
    return folder


MISTAKES = {  # options on top of a good command, and the sentence
    "--model resnet-18": r"unknown timm architecture 'resnet-18' \(did you mean 'resnet18'\?\)",
    "--model resnet18.nope": r"timm has no 'resnet18.nope' \(Invalid pretrained tag \(nope\) for resnet18\); "
    "leave out what follows the dot",
    "--model resnet18": r"\S+finetuned.pth does not fit resnet18: .*tensors missing, first .*name the architecture",
    "--model convnext_atto": r"\S+finetuned.pth has no head.fc.weight, the head of convnext_atto; its last "
    "tensor is 'fc.bias'",
    "--model vit_tiny_patch16_224 --checkpoint M/part.pth": r"\S+part.pth has no head.weight, the head of vit_tiny",
    "--checkpoint M/part.pth": r"\S+part.pth does not fit test_resnet: \d+ tensors missing, first "
    "'conv1.0.weight'; 1 tensors unexpected",
    "--checkpoint M/none.pth": r"there is no file \S+none.pth; check the path",
    "--checkpoint M/three.txt": r"\S+three.txt is no .safetensors, .pth, .pt, .bin, .tar file",
    "--checkpoint M/whole.pth": r"\S+whole.pth holds Python objects beside tensors, and these are never "
    r"loaded; save `model.state_dict\(\)`",
    "--checkpoint M/bomb.pth": r"\S+bomb.pth holds Python objects beside tensors",
    "--checkpoint M/list.pth": r"\S+list.pth holds no state dict; save `model.state_dict\(\)`",
    "--checkpoint M/damaged.pth": r"cannot read \S+damaged.pth: it is damaged or no checkpoint",
    "--checkpoint M/damaged.safetensors": r"cannot read \S+damaged.safetensors \(.*\); give a whole safetensors file",
    "--checkpoint M/marked.safetensors": r"\S+marked.safetensors is calibrated already \(gamma = 1.5\)",
    "--pretrained M/marked.safetensors": r"\S+marked.safetensors is calibrated already \(gamma = 1.5\)",
    "--pretrained M/four.pth": r"\S+four.pth has 4 outputs and \S+finetuned.pth 10; give the pre-trained head "
    "the same classes",
    "--classes M/three.txt": r"\S+three.txt has 3 names, 3 of them distinct, for 10 outputs",
    "--classes M/none.txt": r"cannot read \S+none.txt \(No such file or directory\)",
    "--classes M/damaged.safetensors": r"\S+damaged.safetensors has 1 names",
    "--classes M/a.png": r"cannot read \S+a.png \(.*\); give a UTF-8 text file",
    "--seen ash,oak": r"unknown class in --seen 'oak'.*available: ash, birch",
    "--seen ash,ash": r"a seen class is given twice",
    "--seen 0,77": r"unknown class in --seen '77'",
    "--seen ,": r"the seen set is empty",
    "--seen 0,1,2,3,4,5,6,7,8,9": r"the absent set is empty: all 10 classes are seen",
    "--seen 0,2": r"the fine-tuning data holds 120 samples of class 3 or others that are not among the seen classes",
    "--data N/test": r"the fine-tuning data holds 200 samples of class 1 or others",
    "--data M/none": r"there is no \S+none; give a folder with a sub-folder for each class, a list file, a "
    "manifest, or ready logits",
    "--data M/empty": r"\S+empty has no images in class sub-folders; expected \S+empty/<class>/<image>",
    "--data M/broken": r"2 of 2 images cannot be read, first \S+a.png \(damaged or no image\), \S+b.png .*; "
    "restore or remove them",
    "--data M/outside.txt": r"\S+outside.txt: 1 of 1 lines: the line leaves the list's folder, first '\.\./a.png 0'",
    "--data M/gone.txt": r"\S+gone.txt: 1 of 1 lines: the line names a file that is not there, first 'b.png 0'",
    "--data M/unlabelled.txt": r"\S+unlabelled.txt: 1 of 1 lines: the line is no `relative/path label`, first 'a.png'",
    "--data M/blank.txt": r"\S+blank.txt is empty",
    "--data M/name.txt": r"unknown class in \S+name.txt 'oak'",
    "--data M/far.txt": r"unknown class in \S+far.txt '77'",
    "--test N/train": r"\S+train has no absent class; --test takes samples of both",
    "--test M/good.npz": r"--data and --test are of different kinds",
    "--method best": r"unknown method 'best'; available: alg, alg_change, auto",
    "--method matched_share": r"matched_share \(transductive\) looks at unlabelled images of the target",
    "--absent-share 2": r"the share of absent samples is 2.0; expected a fraction from 0 to 1",
    "--absent-share 0.2 --method alg": r"alg has no use for an absent share; .*stand_in, stand_in_sure",
    "--unlabelled M/empty": r"\S+empty has no images; give a folder with images below it",
    "--unlabelled M/none": r"there is no \S+none; give a folder",
    "--unlabelled M/good.npz": r"--data and --unlabelled are of different kinds",
    "--unlabelled N/test --held-out N/test": r"\S+test has no sample, or one that is not of the seen classes",
    "--held-out N/train": r"held-out images of seen classes serve only to estimate the absent share of unlabelled",
    "--image-size 0": r"--image-size is 0; give a positive number",
    "--batch-size -1": r"--batch-size is -1; give a positive number",
    "--crop-pct 2": r"--crop-pct is 2.0; give a share in \(0, 1\]",
    "--std 0 1 1": r"--std is \[0.0, 1.0, 1.0\]; give three positive numbers",
    "--device gpu": r"device 'gpu' cannot be used here",
    "--output OUT.pth": r"--output is \S+out.pth; its name must end in .safetensors here",
    "--output M/a.png/out.safetensors": r"cannot write \S+: \S+a.png is no folder; choose another --output",
    "--output N/test.safetensors --data N/test.json": r"\S+test.json is an input too; choose another --output",
    "--output M/marked.safetensors --checkpoint M/marked.safetensors": (
        r"\S+marked.safetensors is an input too; choose another --output"
    ),
}
LOGIT_MISTAKES = {
    "--data M/none.npz": r"there is no file \S+none.npz",
    "--data M/damaged.npz": r"cannot read \S+damaged.npz \(File is not a zip file\)",
    "--data M/objects.npz": r"cannot read \S+objects.npz \(.*\); save plain number arrays with numpy.savez",
    "--data M/unlabelled.npz": r"\S+unlabelled.npz has no 'labels', only logits",
    "--data M/shape.npz": r"\S+shape.npz: logits are torch.float64 \(2, 10\) and labels \(1,\); expected floats",
    "--data M/half.npz": r"\S+half.npz: labels are not whole numbers",
    "--data M/nan.npz": r".*nan.npz: the logits hold nan, first in row 0",
    "--data M/absent.npz": r"the fine-tuning data holds 1 samples of class 1 or others",
    "--data M/columns.csv": r"\S+columns.csv has columns label, logits_0, \.\.\.; expected labels, logits_0, logits_1",
    "--data M/words.csv": r"cannot read \S+words.csv \(.*\); give a CSV file of numbers",
    "--data M/marked.safetensors": r"\S+marked.safetensors has no 'logits', only",
    "--pretrained M/other.npz": r"\S+other.npz and \S+good.npz differ in shape or labels",
    "--test M/narrow.npz": r"\S+narrow.npz has 4 classes and \S+good.npz 10; give logits of the same model",
    "--test M/other.npz": r"\S+other.npz has no absent class",
    "--test N/test": r"--data and --test are of different kinds",
    "--unlabelled M/narrow.npz --method matched_share": r"\S+narrow.npz has 4 classes and \S+good.npz 10",
    "--unlabelled M/marked.safetensors --method matched_share": r"\S+marked.safetensors has no 'logits', only",
    "--unlabelled M/unlabelled.npz": r"max_gap has no use for unlabelled images; leave that out",
    "--unlabelled M/good.npz --held-out M/absent.npz": r"\S+absent.npz has no sample, or one that is not of the seen",
    "--unlabelled M/columns.csv --method matched_share": r"\S+columns.csv has columns label, logits_0, \.\.\.; exp",
    "--method max_gap_change": r"max_gap_change compares with the pre-trained model",
    "--model resnet18": r"\S+good.npz holds ready logits, so no model is run; leave out --model and --checkpoint",
    "--output OUT.safetensors": r"--output is \S+out.safetensors; its name must end in .json here",
    "--seen ash": r"--seen has the class 'ash', which is no id in 0\.\.9; name the 10 outputs with --classes FILE",
    "--seen 0": r"the fine-tuning data holds 1 samples of class 2",
}


def mistaken(base, options, newcomer, mistakes, tmp_path, sentence, capsys):
    places = {"M/": f"{mistakes}/", "N/": f"{newcomer}/", "OUT": f"{tmp_path}/out"}
    for short, long in places.items():
        options = re.sub(rf"(?<!\S){short}", long, options)
    inputs = {path: path.stat().st_mtime_ns for folder in (newcomer, mistakes) for path in folder.rglob("*")}
    assert main([*base, *options.split()]) == 2
    captured = capsys.readouterr()
    assert re.fullmatch(rf"error: (?:{sentence})[^\n]*\n", captured.err), captured.err
    assert not list(tmp_path.iterdir()), "nothing is written"
    assert inputs == {path: path.stat().st_mtime_ns for folder in (newcomer, mistakes) for path in folder.rglob("*")}
    return captured.out


@pytest.mark.parametrize("options", MISTAKES)
def test_a_mistake_with_images_is_one_sentence(newcomer, mistakes, tmp_path, capsys, options):
    if "N/test.json" in options:
        (newcomer / "test.json").write_text("a.png 0\n")
    out = mistaken(
        command(newcomer, tmp_path / "out.safetensors"),
        options,
        newcomer,
        mistakes,
        tmp_path,
        MISTAKES[options],
        capsys,
    )
    assert "code in a checkpoint ran" not in out


@pytest.mark.parametrize("options", LOGIT_MISTAKES)
def test_a_mistake_with_logits_is_one_sentence(newcomer, mistakes, tmp_path, capsys, options):
    base = ["calibrate", "--data", mistakes / "good.npz", "--seen", "0,2,3", "--output", tmp_path / "out.json"]
    mistaken(base, options, newcomer, mistakes, tmp_path, LOGIT_MISTAKES[options], capsys)


@pytest.mark.parametrize(
    ("base", "sentence"),
    [
        (
            "--data N/train --seen 0 --output OUT.safetensors",
            "--model is missing; images need --model and --checkpoint, ready logits neither",
        ),
        (f"--data N/train --seen 0 --output OUT.safetensors --model {ARCH}", "--checkpoint is missing"),
        (
            f"--data N/train --seen 0 --output OUT.safetensors --model {ARCH} --checkpoint N/finetuned.pth",
            r"\S+train has the class 'ash', which is no id",
        ),
        (
            f"--data M/numbers --seen 0 --output OUT.safetensors --model {ARCH} --checkpoint N/finetuned.pth",
            r"the class folders of \S+numbers are numbers that sort differently as text",
        ),
    ],
)
def test_what_is_missing_is_named(newcomer, mistakes, tmp_path, capsys, base, sentence):
    mistaken(["calibrate"], base, newcomer, mistakes, tmp_path, sentence, capsys)


def test_a_full_disk_leaves_nothing(newcomer, tmp_path, capsys, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    assert main(command(newcomer, tmp_path / "out.safetensors")) == 2
    assert "error: the disk is full" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_no_batch_follows_an_unreadable_image(newcomer, mistakes):
    good, bad = sorted((newcomer / "train").rglob("*.png"))[:5], mistakes / "broken" / NAMES[0] / "a.png"
    batches = ImageBatches(
        [*good, bad, *good], torch.zeros(11, dtype=torch.long), lambda image: torch.tensor(image.size), batch_size=2
    )
    assert len(batches) == 6
    seen = []
    with pytest.raises(UserError, match="1 of 11 images cannot be read"):
        seen.extend(len(x) for x, _ in batches)
    assert seen == [2, 2]


def test_a_fixed_size_transformer_at_another_size(newcomer, tmp_path, capsys):
    """The page's own lines load the result with plain timm."""
    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=10, img_size=SIZE)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "vit.safetensors")
    base = command(
        newcomer, tmp_path / "out.safetensors", "--model", "test_vit", "--checkpoint", tmp_path / "vit.safetensors"
    )
    base = [argument for i, argument in enumerate(base) if "--pretrained" not in (argument, base[i - 1])]
    assert main(base) == 0, capsys.readouterr().err
    page = (tmp_path / "out.html").read_text()
    code = html.unescape(re.search(r"<code>(.*?)</code>", page, re.DOTALL)[1])
    assert f"img_size={SIZE}" in code
    space = {}
    exec(code, space)  # noqa: S102 (the page's own lines)
    gamma = json.loads((tmp_path / "out.json").read_text())["gamma"]
    images = prepared(waves(0, 2, True, torch.Generator().manual_seed(0)))
    assert torch.allclose(
        logits_of(space["model"], images), shift_logits(logits_of(model, images), SPLIT, gamma), atol=1e-5
    )


default_cfgs = timm.models.generate_default_cfgs(
    {"biasless_resnet.none": {"classifier": "fc", "input_size": (3, 160, 160)}}
)  # where timm looks


@timm.models.register_model
def biasless_resnet(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, **options):
    """A timm architecture whose head has no bias."""
    model = timm.create_model(ARCH, **options)
    model.fc.bias = None
    return model


def test_the_page_says_how_to_load_a_head_that_gained_its_bias(newcomer, tmp_path):
    """The code on the page, run as it stands, gives the old logits with gamma on the absent classes."""
    state = external_files.read_weights(newcomer / "finetuned.pth")[0]
    bias = state.pop("fc.bias")
    torch.save(state, tmp_path / "tuned.pth")
    output = tmp_path / "out.safetensors"
    changed = {"--checkpoint": tmp_path / "tuned.pth", "--model": "biasless_resnet"}
    arguments = command(newcomer, output, "--method", "max_gap")
    arguments = [changed.get(before, argument) for before, argument in zip([None, *arguments], arguments)]
    at = arguments.index("--pretrained")
    assert main(arguments[:at] + arguments[at + 2 :]) == 0
    code = html.unescape(
        re.search(r"<pre><code>(.*?)</code></pre>", output.with_suffix(".html").read_text(), re.DOTALL)[1]
    )
    scope: dict = {}
    exec(code, scope)  # noqa: S102 (our own page)
    images = torch.rand(3, 3, SIZE, SIZE)
    before = timm.create_model(ARCH, num_classes=10)
    before.load_state_dict(state | {"fc.bias": torch.zeros_like(bias)})
    gamma = json.loads(output.with_suffix(".json").read_text())["gamma"]
    assert gamma != 0 and torch.allclose(
        logits_of(scope["model"], images), shift_logits(logits_of(before, images), SPLIT, gamma), atol=1e-5
    )
