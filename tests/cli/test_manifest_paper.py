"""The paper's benchmarks from a folder to a table: manifest, check, fine-tuning, accuracies by group."""

import json
import re
from dataclasses import replace

import pytest
import torch

from analysis_lib.benchmarks import imagenet_r, imagenet_s, iwildcam, office_home
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.benchmarks.overview import gallery
from analysis_lib.benchmarks.published import Counts
from analysis_lib.cli import main
from analysis_lib.core import files, paths
from analysis_lib.models.create import create_random_model
from analysis_lib.runs.plan import plan
from analysis_lib.studies import accuracy, make_runs, open_study, temporal_shift
from tests.benchmarks import paper_trees

NETWORK = ["--model", "test_resnet", "--image-size", "16"]


@pytest.fixture
def small(project, monkeypatch):
    counts = Counts(12, 6, 8, 4, 4)
    monkeypatch.setattr(office_home, "CLASSES", 4)
    monkeypatch.setattr(office_home, "SEEN", 2)
    monkeypatch.setattr(office_home, "COUNTS", dict.fromkeys(office_home.COUNTS, counts))
    for module in (imagenet_r, imagenet_s):
        monkeypatch.setattr(module, "RENDITIONS", replace(module.RENDITIONS, classes=4, counts=counts))
    for module in (office_home, iwildcam):
        monkeypatch.setitem(module.BENCHMARK.source_recipe, "epochs", 2)
    return project


def import_weights(name, outputs):
    """Random weights of the network, stored as imported ones."""
    state = create_random_model("test_resnet", outputs, 0).float().state_dict()
    files.write_tensors(paths.imported_weights(name), state)


def table(name):
    """Accuracies by group before and after a smoke fine-tuning on the benchmark."""
    assert list(make_runs(["accuracy"], name, "smoke", [0], "cpu"))
    found = accuracy.metrics_by_epoch(open_study("accuracy", name, "smoke", [0], "cpu"))
    return found.query("epoch == 1").set_index("metric")


def test_office_home_with_published_lists(small, capsys):
    folder = paper_trees.office_home(small / "OfficeHome")
    lists = paper_trees.published(small / "published")
    command = ["manifest", "paper", "office-home", str(folder), "--task", "Ar-Cl", "--lists", str(lists), *NETWORK]
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == [
        "data_manifests/office-home-ar-cl.json: Office-Home, from Art to Clipart, 20 source images",
        " group  classes  train  test",
        "  seen        2      6     4",
        "absent        2      6     4",
    ]
    manifest = load_manifest("office-home-ar-cl")
    assert manifest.head.source == "OfficeHome" and manifest.head.recipe == "office-home"
    assert main(["data", "office-home-ar-cl"]) == 0
    found = table("office-home-ar-cl")
    assert found.loc["acc_sy", "samples"] == 4 and found.loc["acc_uy", "samples"] == 4
    assert found.loc[["acc_yy", "acc_sy", "acc_uy", "acc_ss", "acc_uu"], "value"].between(0, 1).all()
    (spec,) = plan("office-home-ar-cl", "paper", [0])
    assert spec.epochs == 10_000 and spec.init.startswith("office-home-ar-cl-pretrain")


def test_the_source_training_starts_from_an_imported_backbone(small):
    folder = paper_trees.office_home(small / "OfficeHome")
    import_weights("photographs", 4)
    backbone = files.read_tensors(paths.imported_weights("photographs"))
    files.write_tensors(
        paths.imported_weights("photographs"), {k: v for k, v in backbone.items() if not k.startswith("fc.")}
    )
    command = ["manifest", "paper", "office-home", str(folder), "--task", "Rw-Pr", "--name", "mine"]
    assert main([*command, *NETWORK]) == 0
    head = paths.manifest_head("mine")
    head.write_text(json.dumps(json.loads(head.read_text()) | {"backbone": "photographs"}))
    assert table("mine").loc["acc_yy", "samples"] == 8


def test_imagenet_r_and_its_variant_with_all_classes(small, capsys):
    folder = paper_trees.renditions(small / "imagenet-r")
    lists = paper_trees.published(small / "published")
    command = ["manifest", "paper", "imagenet-r", str(folder), "--lists", str(lists), *NETWORK]
    assert main([*command, "--columns", "1000"]) == 0
    import_weights("imagenet-r-1000", 1000)
    found = table("imagenet-r-1000")
    assert found.loc["acc_sy", "samples"] == 4 and found.loc["acc_uy", "samples"] == 4
    rows, titles = gallery(load_manifest("imagenet-r-1000"), 0)
    assert len(rows) == 4 and sum("(seen)" in title for title in titles) == 2


@pytest.mark.parametrize("name", ["imagenet-s", "vtab-pets"])
def test_imported_weights(small, name):
    if name == "imagenet-s":
        folder = paper_trees.renditions(small / "sketch", suffix="JPEG")
        assert main(["manifest", "paper", "imagenet-s", str(folder), *NETWORK]) == 0
    else:
        folder = paper_trees.vtab(small / "vtab")
        assert main(["manifest", "paper", "vtab", str(folder), "--task", "pets", *NETWORK]) == 0
    import_weights(name, len(load_manifest(name).class_names))
    found = table(name)
    assert found.loc["acc_sy", "samples"] + found.loc["acc_uy", "samples"] == found.loc["acc_yy", "samples"]
    assert torch.isfinite(torch.tensor(found["value"].to_numpy())).all()


def test_iwildcam(small):
    folder = paper_trees.iwildcam(small / "iwildcam_v2.0")
    assert main(["manifest", "paper", "iwildcam", str(folder), "--task", "7", *NETWORK]) == 0
    manifest = load_manifest("iwildcam-7")
    assert manifest.body.query("split == 'test'")[["date", "place"]].to_numpy().tolist() == [
        ["2013-06-03", "7"],
        ["2013-06-05", "7"],
        ["2013-06-06", "7"],
    ]
    found = table("iwildcam-7")
    assert found.loc["acc_sy", "samples"] == 1 and found.loc["acc_uy", "samples"] == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--task", "Ar-Xx"], r"unknown task 'Ar-Xx'"),
        (["--task", "Ar-Cl", "--name", "../x"], r"--name is '../x'; give letters"),
        (["--task", "Ar-Cl", "--name", "digits"], r"--name is 'digits', the name of another benchmark"),
        (["--task", "Ar-Cl", "--model", "resnet5"], r"unknown timm architecture 'resnet5' \(did you mean 'resnet50'"),
        (["--task", "Ar-Cl", "--model", "resnet50.mine"], r"timm has no 'resnet50.mine'"),
        (["--task", "Ar-Cl", "--model", "test_vit", "--image-size", "16"], r"test_vit takes images of 160 pixels"),
        (["--task", "Ar-Cl", "--image-size", "0"], r"--image-size is 0; give 1 or more"),
        (["--task", "Ar-Cl", "--lists", "nowhere"], r"cannot read .*nowhere/asset/OfficeHome/image_list/Art_training"),
    ],
)
def test_mistakes_are_one_sentence_and_write_nothing(small, capsys, options, sentence):
    folder = paper_trees.office_home(small / "OfficeHome")
    before = {path.name for path in (small / "data_manifests").iterdir()}
    assert main(["manifest", "paper", "office-home", str(folder), *options]) == 2
    assert re.fullmatch(rf"error: {sentence}[^\n]*\n", capsys.readouterr().err)
    assert {path.name for path in (small / "data_manifests").iterdir()} == before


def test_a_listed_image_that_is_not_there_is_named(small, capsys):
    folder = paper_trees.office_home(small / "OfficeHome")
    lists = paper_trees.published(small / "published")
    (folder / "Clipart/Drill/00004.jpg").unlink()
    assert main(["manifest", "paper", "office-home", str(folder), "--task", "Ar-Cl", "--lists", str(lists)]) == 2
    assert "1 files under OfficeHome are not there, first Clipart/Drill/00004.jpg" in capsys.readouterr().err
    assert not paths.manifest_head("office-home-ar-cl").exists()


def test_weights_that_are_not_imported_yet_are_named(small, capsys):
    folder = paper_trees.vtab(small / "vtab")
    assert main(["manifest", "paper", "vtab", str(folder), "--task", "pets", *NETWORK]) == 0
    assert json.loads(paths.manifest_head("vtab-pets").read_text())["weights"] == "vtab-pets"
    assert main(["run", "vtab-pets", "--profile", "paper"]) == 2
    assert "unknown weights 'vtab-pets'" in capsys.readouterr().err


def test_the_manifest_of_other_images_is_not_overwritten(small, capsys):
    folder = paper_trees.vtab(small / "vtab")
    assert main(["manifest", "create", str(folder / "pets" / "train"), "--name", "mine"]) == 0
    before = paths.manifest_head("mine").read_bytes()
    again = ["manifest", "paper", "vtab", str(folder), "--task", "pets", *NETWORK]
    assert main([*again, "--name", "mine"]) == 2
    assert "data_manifests/mine.json is the manifest of other images; choose another --name" in capsys.readouterr().err
    assert paths.manifest_head("mine").read_bytes() == before
    assert main(again) == 0 and main(again) == 0, "its own may be made again"


def test_iwildcam_by_months(project):
    """A place of one year through the study of temporal shift: periods are months, and transductive gammas move."""
    tree = paper_trees.iwildcam_year(project / "data")
    task = ["manifest", "paper", "iwildcam", str(tree), "--task", "7", "--until", "2013-05-31"]
    assert main([*task, *NETWORK]) == 0
    runs = open_study("temporal_shift", "iwildcam-7", "smoke", [0], "cpu")
    contents = temporal_shift.contents(runs)
    assert contents["period"].unique().tolist() == ["2013-08", "2013-09"], "June and July serve the NCM probe"
    assert (contents.query("group == 'seen'")["images"] == 20).all()
    gammas = temporal_shift.by_period(runs).query("metric == 'gamma' and checkpoint == 'fine-tuned'")
    spread = gammas.groupby("method")["value"].nunique()
    assert spread["alg"] == spread["stand_in"] == spread[temporal_shift.PAST] == 1
    assert spread["matched_share (transductive)"] == 2
