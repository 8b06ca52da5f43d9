import json

import pytest

from analysis_lib import UserError
from analysis_lib.benchmarks import BENCHMARKS, describe, digits, emoji, folder, office_home, recipe
from analysis_lib.benchmarks.manifest import load_manifest, save_manifest
from analysis_lib.core import paths
from analysis_lib.runs.plan import plan


def save(name, **changes):
    """A manifest like that of `digits`, under another name."""
    digits_manifest = load_manifest("digits")
    save_manifest(digits_manifest.head.model_dump(mode="json") | {"name": name} | changes, digits_manifest.body)


def test_the_entry_is_found_by_name_then_recipe_then_builder(project):
    assert describe("digits") is digits.BENCHMARK and describe("office-home") is office_home.BENCHMARK
    save("office-home-ar-cl", recipe="office-home", builder="folder")
    save("mine", builder="folder")
    save("later_emoji", builder="emoji")
    assert describe("office-home-ar-cl") is office_home.BENCHMARK
    assert describe("mine") is folder.BENCHMARK
    assert describe("later_emoji") is emoji.BENCHMARK
    save("wrong", recipe="office-hme")
    with pytest.raises(
        UserError, match=r"unknown recipe of benchmark 'wrong' 'office-hme' .did you mean 'office-home'"
    ):
        describe("wrong")
    with pytest.raises(UserError, match="unknown benchmark 'nothing'"):
        describe("nothing")


def test_the_field_recipe_leaves_older_digests(project):
    assert [load_manifest(name).digest for name in ("digits", "emoji")] == ["3c7c0c4c361c", "d011d0ddceff"]
    assert "recipe" not in json.loads(paths.manifest_head("digits").read_text())


def test_the_papers_steps_become_epochs(project):
    """10,000 steps of 64, measured every 500: on 1,201 training images, of which a share or a list is seen."""
    save("half", recipe="office-home", seen=0.5, weights="efficientnet_lite0_imagenet1k")
    fields = recipe("half", "paper")
    assert "steps" not in fields and fields["epochs"] == 1000 and fields["record_every"] == 50  # 10 steps an epoch
    save("one", recipe="office-home", seen=["3"])
    images = int(load_manifest("one").body.query("split == 'train'")["label"].eq(3).sum())
    per_epoch = -(-images // 64)
    assert recipe("one", "paper")["epochs"] == round(10_000 / per_epoch)
    (spec,) = plan("half", "paper", [0], dtype="float32")
    assert (spec.lr, spec.momentum, spec.weight_decay, spec.batch_size) == (1e-3, 0.9, 5e-4, 64)
    assert (spec.backbone_lr_scale, spec.epochs, spec.record_every) == (0.1, 1000, 50)


def test_long_recipes_never_have_less_than_one_epoch(project, monkeypatch):
    save("half", recipe="office-home", seen=0.5)
    short = dict(office_home.BENCHMARK.recipes["paper"], steps=3, record_every=2)
    monkeypatch.setitem(office_home.BENCHMARK.recipes, "paper", short)
    assert (recipe("half", "paper")["epochs"], recipe("half", "paper")["record_every"]) == (1, 1)


@pytest.mark.parametrize(("name", "steps"), [("office-home", 10_000), ("imagenet-r", 25_000), ("imagenet-s", 25_000)])
def test_lengths_are_the_papers(name, steps):
    assert BENCHMARKS[name].recipes["paper"]["steps"] == steps
    assert {"smoke", "default", "full", "paper"} == set(BENCHMARKS[name].recipes)
