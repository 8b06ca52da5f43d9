"""VTAB-1k on a miniature: one task of each group, ten training images each, and a tiny vision transformer."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image

from analysis_lib import UserError
from analysis_lib.benchmarks import vtab_1k as benchmark
from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.stream import StreamedImages
from analysis_lib.benchmarks.vtab_1k import Task, load_task
from analysis_lib.cli import main
from analysis_lib.core import files, paths
from analysis_lib.methods import METHODS as METHODS_BY_NAME
from analysis_lib.models.petl import TECHNIQUES
from analysis_lib.report.reference import Reference
from analysis_lib.runs.execute import execute
from analysis_lib.runs.outputs import Outputs, load_outputs, save_outputs
from analysis_lib.runs.rows import training_rows
from analysis_lib.studies import vtab_1k
from analysis_lib.studies.vtab_1k import ALL_TASKS, THREE_GROUPS, SearchGrid
from tests.conftest import REPOSITORY, make_root

TINY = {"colours": Task("natural", 3), "shades": Task("specialized", 2), "places": Task("structured", 2)}
LENGTHS = {"train800": 8, "val200": 2, "test": 6}
GRID = SearchGrid(
    lr=(1e-3, 1e-2),
    weight_decay=(1e-4, 1e-3),
    recipe={"optimizer": "adamw", "batch_size": 5, "epochs": 1, "warmup": 0.1},
)
METHODS = ["linear_probe", "lora"]
PUBLISHED_TASKS, PUBLISHED_GRIDS = dict(benchmark.TASKS), dict(vtab_1k.GRIDS)  # before the miniature replaces them


def write_task(folder, task, classes):
    """Coloured images, twice as wide as high, black at the left edge, of which no two are equal; and the lists."""
    random = np.random.default_rng(len(task))
    numbers = itertools.count()
    for part, length in LENGTHS.items():
        lines = []
        for label in np.resize(np.arange(classes), length):
            pixels = random.integers(0, 60, (32, 64, 3))
            pixels[..., label] += 150
            pixels[:, :8] = 0
            path = folder / task / "images" / f"{next(numbers)}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
            lines.append(f"images/{path.name} {label}\n")
        (folder / task / f"{part}.txt").write_text("".join(lines))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The project folder, and the command that makes the whole study in it."""
    root = make_root(tmp_path_factory.mktemp("vtab"))
    for task, kind in TINY.items():
        write_task(root / "vtab", task, kind.classes)
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=7)
    safetensors.torch.save_file(network.state_dict(), root / "vit.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTC_ROOT", str(root))
        for registry in (benchmark.TASKS, vtab_1k.GRIDS):
            for name in list(registry):
                patch.delitem(registry, name)
        for task, kind in TINY.items():
            patch.setitem(benchmark.TASKS, task, kind)
        for method in [*METHODS, "finetune"]:
            patch.setitem(vtab_1k.GRIDS, method, GRID)
        for part, split in (("train800", "train"), ("val200", "test")):
            patch.setitem(benchmark.SEARCHED, f"{part}.txt", (split, LENGTHS[part]))
        yield root


def command(root, *options):
    given = ["--model", "test_vit", "--weights", root / "vit.safetensors", "--methods", ",".join(METHODS)]
    return main(["vtab1k", *map(str, [root / "vtab", *given, *options]), "--engine", "serial", "--device", "cpu"])


@pytest.fixture(scope="module")
def made(study):
    """The folder, once the study is made."""
    assert command(study) == 0
    return study


def search_of(task, method):
    return vtab_1k.search_specs(load_task(task), method)


def test_a_list_checks_and_makes_nothing(study, capsys):
    assert command(study, "--list") == 0
    assert capsys.readouterr().out.startswith("search on 800 and 200: 24 runs: 0 done, 0 partial, 24 missing")
    assert not paths.runs().exists() or not any(paths.runs().glob("vtab1k*"))


def test_the_search_has_no_test_image_and_the_whole_has_all(made):
    for task in TINY:
        lists = {part: (made / "vtab" / task / f"{part}.txt").read_text().splitlines() for part in LENGTHS}
        found = load_task(task)
        listed = lambda manifest, split: (
            manifest.body[manifest.body["split"] == split].agg(lambda row: f"{row['path']} {row['label']}", axis=1)
        ).tolist()
        assert listed(found.search, "train") == lists["train800"] and listed(found.search, "test") == lists["val200"]
        assert len(found.search.body) == 10
        assert listed(found.whole, "train") == lists["train800"] + lists["val200"]
        assert listed(found.whole, "test") == lists["test"]


def test_training_uses_eight_then_all_ten_of_every_class(made):
    for task, kind in TINY.items():
        found = load_task(task)
        spec = search_of(task, "lora")[0]
        assert len(training_rows(found.search, spec)) == 8
        (final,) = vtab_1k.final_specs(found, "lora")
        rows = training_rows(found.whole, final)
        assert len(rows) == 10 and set(found.whole.labels[rows].tolist()) == set(range(kind.classes))
        assert not spec.augmented and not final.augmented and (spec.optimizer, spec.warmup) == ("adamw", 0.1)
        assert '"n": 10' in paths.run_metrics(final.run_id).read_text()


def test_images_are_stretched_to_squares_whole(made):
    manifest = load_task("colours").search
    images = load_images(manifest)
    assert images.shape == (10, 3, 160, 160)
    brightness = images.float().amax(1).mean((0, 1))  # of each column: an eighth of the width is black
    assert brightness[:18].max() < 5 and brightness[22:].min() > 100
    assert torch.equal(StreamedImages(manifest)[torch.arange(10)], images), "streamed ones too"


def test_every_run_starts_from_the_network_with_a_new_head(made):
    """At the start, the backbone is the user's, and the head a draw that all methods and seeds share."""
    before = files.read_tensors(made / "vit.safetensors")
    (final,) = vtab_1k.final_specs(load_task("colours"), "linear_probe")
    after = files.read_tensors(paths.run_model(final.run_id))
    assert after["head.weight"].shape == (3, before["head.weight"].shape[1])
    backbone = [name for name in before if not name.startswith("head.")]
    assert backbone and all(torch.equal(before[name], after[name]) for name in backbone), "a probe trains the head"
    starts = [
        files.read_tensors(paths.run_head(spec.run_id, 0))
        for method in METHODS
        for spec in search_of("colours", method)
    ]
    assert all(torch.equal(start["weight"], starts[0]["weight"]) for start in starts)
    assert 0.015 < starts[0]["weight"].std() < 0.025 and not starts[0]["bias"].any()


def test_a_method_with_options_of_its_own_starts_as_they_say(made, monkeypatch):
    monkeypatch.setitem(vtab_1k.GRIDS, "vqt", replace(GRID, options=PUBLISHED_GRIDS["vqt"].options))
    spec = search_of("places", "vqt")[0]
    execute(spec, "cpu")
    start = files.read_tensors(paths.run_head(spec.run_id, 0))
    width = timm.create_model("test_vit").embed_dim
    blocks = len(timm.create_model("test_vit").blocks)
    assert start["weight"].shape == (2, width + blocks * width) and torch.allclose(
        start["bias"], torch.tensor(99.0).log().neg()
    )


def accuracy_of(spec):
    test = load_outputs(paths.run_outputs(spec.run_id, 1, "test"))
    return sum(int(row.argmax()) == label for row, label in zip(test.logits, test.labels.tolist())) / len(test.labels)


def test_results_and_group_means_by_hand(made):
    table = pd.read_csv(paths.table("vtab_1k", "results")).set_index(["task", "method"])
    assert len(table) == 6
    for task, method in itertools.product(TINY, METHODS):
        row = table.loc[(task, method)]
        searched = {(spec.lr, spec.weight_decay): accuracy_of(spec) for spec in search_of(task, method)}
        best = min(pair for pair, found in searched.items() if found == max(searched.values()))
        assert (row["lr"], row["weight_decay"]) == best and row["val_accuracy"] == max(searched.values())
        (final,) = vtab_1k.final_specs(load_task(task), method)
        assert row["test_accuracy"] == pytest.approx(accuracy_of(final)) and row["n"] == 6 and row["seed"] == 42
        assert row["group"] == TINY[task].group
    means = pd.read_csv(paths.table("vtab_1k", "group_means")).set_index(["method", "group"])["accuracy"]
    for method in METHODS:
        own = table.xs(method, level="method")["test_accuracy"]
        assert means[(method, "natural")] == pytest.approx(own["colours"])
        assert means[(method, THREE_GROUPS)] == pytest.approx(own.mean())
    assert paths.figure("vtab_1k", "group_means", "png").exists()


def test_a_second_call_trains_nothing_and_says_so(made, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "hash_files", None)
    monkeypatch.setattr("analysis_lib.runs.execute._begin", None)
    assert command(made) == 0
    out = capsys.readouterr().out
    assert "search on 800 and 200: 24 runs: 24 done, 0 partial, 0 missing; nothing left to make" in out
    assert "training on 1,000: 6 runs: 6 done, 0 partial, 0 missing; nothing left to make" in out
    assert re.search(r"^lora +\d", out, re.MULTILINE)


def test_an_incomplete_search_chooses_nothing(made):
    task = load_task("shades")
    missing = vtab_1k.search_specs(task, "lora")[2]
    done = paths.run_done(missing.run_id)
    done.unlink()
    try:
        for reading in (vtab_1k.choose, vtab_1k.final_specs, lambda *given: vtab_1k.results([given[0]], [given[1]])):
            with pytest.raises(
                UserError, match=r"the search of lora on shades is not finished \(3 of 4 runs are done\), so nothing is"
            ):
                reading(task, "lora")
    finally:
        done.touch()
    assert vtab_1k.choose(task, "lora")


def fake(spec, right):
    """A finished run that is right on so many of ten images."""
    logits = torch.zeros(10, 3)
    logits[:right, 1] = 1
    outputs = Outputs(torch.zeros(10, 1), logits, torch.ones(10, dtype=torch.int64), torch.arange(10))
    save_outputs(paths.run_outputs(spec.run_id, 1, "test"), outputs)
    files.write_text(paths.run_done(spec.run_id), "")


@pytest.mark.parametrize(
    ("right", "chosen"),
    [
        ((3, 4, 5, 9), (1e-2, 1e-3)),
        ((9, 9, 9, 9), (1e-3, 1e-4)),
        ((2, 7, 7, 1), (1e-3, 1e-3)),  # the smaller learning rate
        ((2, 1, 7, 7), (1e-2, 1e-4)),  # then the smaller weight decay
    ],
)
def test_of_equal_accuracies_the_smaller_rate_wins(made, tmp_path, monkeypatch, right, chosen):
    task = load_task("places")
    specs = vtab_1k.search_specs(task, "finetune")
    (tmp_path / "runs").mkdir()
    # a folder of its own, which has no weights
    monkeypatch.setattr(vtab_1k, "starting_network", lambda manifest, dtype: task.whole.head.weights)
    monkeypatch.setenv("FTC_ROOT", str(tmp_path))
    for spec, number in zip(specs, right, strict=True):
        fake(spec, number)
    won, found = vtab_1k.choose(task, "finetune")
    assert (won.lr, won.weight_decay) == chosen and found == max(right) / 10
    finals = vtab_1k.final_specs(task, "finetune", [42, 44])
    assert [spec.seed for spec in finals] == [42, 44]
    assert all((spec.lr, spec.weight_decay, spec.data) == (*chosen, task.whole.digest) for spec in finals)


def test_test_images_have_no_say(made):
    """The choice is the same whatever the test images are: their manifest is not read."""
    task = load_task("colours")
    other = replace(task, whole=None)
    for method in METHODS:
        assert vtab_1k.choose(other, method) == vtab_1k.choose(task, method)


def test_group_means_take_groups_as_one_and_leave_out_what_is_not_complete(monkeypatch):
    tasks = {"a": "natural", "b": "natural", "c": "natural", "d": "specialized", "e": "structured", "f": "structured"}
    monkeypatch.setattr(vtab_1k, "TASKS", {name: Task(group, 2) for name, group in tasks.items()})
    accuracies = dict(zip(tasks, (0.1, 0.2, 0.6, 0.9, 0.4, 0.6)))
    pairs = itertools.product(accuracies.items(), (-0.1, 0.1))
    rows = [(task, tasks[task], "lora", seed, found + seed) for (task, found), seed in pairs]
    table = pd.DataFrame(rows, columns=["task", "group", "method", "seed", "test_accuracy"])
    means = vtab_1k.group_means(table).set_index("group")
    expected = {"natural": 0.3, "specialized": 0.9, "structured": 0.5, THREE_GROUPS: 1.7 / 3, ALL_TASKS: 2.8 / 6}
    assert means["accuracy"].to_dict() == pytest.approx(expected)
    assert means["n_tasks"].tolist() == [3, 1, 2, 6, 6]
    assert set(means["n_seeds"]) == {2}
    partial = vtab_1k.group_means(table[table["task"] != "f"]).set_index("group")
    assert list(partial.index) == ["natural", "specialized"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--tasks", "colurs"], r"unknown task of vtab1k 'colurs' \(did you mean 'colours'\?\)"),
        (["--methods", "lora,loro"], r"unknown method of vtab1k 'loro' \(did you mean 'lora'\?\)"),
        (["--seeds", "4,x"], r"seeds is '4,x'; give integers"),
    ],
)
def test_a_wrong_name_is_one_sentence(study, capsys, options, sentence):
    assert command(study, *options) == 2
    captured = capsys.readouterr()
    assert re.fullmatch(rf"error: {sentence}[^\n]*\n", captured.err) and captured.out == ""


def lines_of(path):
    return path.read_text().splitlines()


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (
            lambda own: own.rename(own.with_name("elsewhere")),
            "expected a folder colours with the lists of VTAB-1k, found",
        ),
        (lambda own: (own / "val200.txt").unlink(), "cannot read .*val200.txt"),
        (
            lambda own: (own / "train800.txt").write_text("\n".join(lines_of(own / "train800.txt")[1:])),
            "task colours: train800.txt lists 7 images and must list 8; restore the list",
        ),
        (
            lambda own: (own / "test.txt").write_text("images/12.png 3\n"),
            "task colours: its lists have the label 3 and its 3 classes are numbered from 0",
        ),
        (
            lambda own: (own / "test.txt").write_text((own / "val200.txt").read_text()),
            "task colours: 2 images are listed twice, first images/8.png",
        ),
        (
            lambda own: (own / "images" / "13.png").unlink(),
            "task colours: 1 of 16 listed images are not in vtab.colours, first images.13.png",
        ),
    ],
)
def test_wrong_lists_are_one_sentence_and_write_nothing(study, tmp_path, monkeypatch, capsys, harm, sentence):
    monkeypatch.setenv("FTC_ROOT", str(tmp_path))
    write_task(tmp_path / "vtab", "colours", 3)
    harm(tmp_path / "vtab" / "colours")
    given = ["--model", "test_vit", "--weights", str(study / "vit.safetensors"), "--tasks", "colours"]
    assert main(["vtab1k", str(tmp_path / "vtab"), *given, "--device", "cpu"]) == 2
    captured = capsys.readouterr()
    assert re.fullmatch(rf"error: [^\n]*{sentence}[^\n]*\n", captured.err), captured.err
    assert captured.out == "" and [path.name for path in tmp_path.iterdir()] == ["vtab"]


def test_a_network_without_a_place_for_the_modules_is_refused_before_anything_runs(study, tmp_path, capsys):
    torch.manual_seed(0)
    safetensors.torch.save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "cnn.safetensors")
    given = ["--model", "test_resnet", "--weights", str(tmp_path / "cnn.safetensors"), "--device", "cpu"]
    assert main(["vtab1k", str(study / "vtab"), *given, "--methods", "linear_probe,lora"]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: LoRA is inserted into the blocks of a timm vision transformer[^\n]*\n", error)


def test_the_grid_and_the_tasks_are_the_published_ones():
    groups = [task.group for task in PUBLISHED_TASKS.values()]
    assert [groups.count(group) for group in vtab_1k.GROUPS] == [7, 4, 8]
    assert sum(task.classes for task in PUBLISHED_TASKS.values()) == 940
    recipe = {"optimizer": "adamw", "batch_size": 64, "epochs": 100, "warmup": 0.1}
    common = SearchGrid((1e-3, 1e-2), (1e-4, 1e-3), recipe)
    assert all(grid == common for method, grid in PUBLISHED_GRIDS.items() if method != "vqt")
    assert [2 * rate for rate in PUBLISHED_GRIDS["vqt"].lr] == [0.05, 0.1, 0.25, 0.5, 1.0]
    assert {"linear_probe", "finetune", *TECHNIQUES} == set(PUBLISHED_GRIDS) <= set(METHODS_BY_NAME)
    published = Reference(REPOSITORY, "").shared("vtab_1k_published")
    assert set(published["method"]) <= set(PUBLISHED_GRIDS), "the published methods are called as they are here"
