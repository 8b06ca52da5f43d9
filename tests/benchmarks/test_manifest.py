import json
import re

import pandas as pd
import pytest
import torch

from analysis_lib import UserError
from analysis_lib.benchmarks import manifest
from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import COLUMNS, load_manifest
from analysis_lib.core import paths
from analysis_lib.runs import plan

GOOD = pd.DataFrame([("a", 0, "train", "g", ""), ("b", 1, "test", "h", "")], columns=COLUMNS)


def edit_head(project, **changes):
    path = paths.manifest_head("digits")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_digits_is_whole(project):
    manifest = load_manifest("digits")
    assert len(manifest.body) == 1797
    assert sorted([*manifest.rows("train").tolist(), *manifest.rows("test").tolist()]) == list(range(1797))
    counts = pd.crosstab(manifest.body["label"], manifest.body["split"])
    assert (counts["test"] == counts.sum(axis=1) // 3).all()


def test_the_class_split_belongs_to_benchmark_and_seed_alone(project):
    manifest = load_manifest("digits")
    assert manifest.class_split(3).seen == manifest.class_split(3).seen
    assert len({manifest.class_split(seed).seen for seed in range(8)}) > 4
    assert all(len(manifest.class_split(seed).seen) == 5 for seed in range(8))
    torch.rand(3)  # global random state has no say
    assert load_manifest("digits").class_split(3).seen == manifest.class_split(3).seen


def test_seen_classes_by_name(project):
    manifest = load_manifest("digits")
    assert manifest.class_split(0, ["7", "1"]).seen == (1, 7)
    with pytest.raises(UserError, match="unknown class in benchmark 'digits' 'seven'"):
        manifest.class_split(0, ["seven"])
    with pytest.raises(UserError, match="the absent set is empty"):
        manifest.class_split(0, manifest.class_names)
    edit_head(project, seen=[])
    with pytest.raises(UserError, match="field 'seen': name some of the classes"):
        load_manifest("digits")


def test_an_unknown_benchmark_names_the_nearest(project):
    with pytest.raises(
        UserError, match=re.escape("unknown benchmark 'emojis' (did you mean 'emoji'?); available: digits, emoji")
    ):
        load_manifest("emojis")


def test_a_changed_body_is_refused(project):
    with open(paths.manifest_body("digits"), "a") as file:
        file.write("x,0,train,x,y\n")
    with pytest.raises(
        UserError, match="data_manifests/digits.csv does not match the sha256 in data_manifests/digits.json"
    ):
        load_manifest("digits")


def test_a_wrong_head_names_the_field(project):
    edit_head(project, image_size="large")
    with pytest.raises(UserError, match="data_manifests/digits.json: field 'image_size'"):
        load_manifest("digits")
    edit_head(project, image_size=16, colour="blue")
    with pytest.raises(UserError, match="field 'colour'"):
        load_manifest("digits")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (("c", 2, "train", "c", ""), "label is no whole number in 0..1 in 1 rows, first c"),
        (("c", 0.5, "train", "c", ""), "label is no whole number in 0..1"),
        (("c", "cat", "train", "c", ""), "label is no whole number in 0..1"),
        (("c", 0, "train", None, ""), "path, group or split is empty in 1 rows, first c"),
        ((None, 0, "train", "c", ""), "path, group or split is empty"),
        (("c", 0, "val", "c", ""), "split is neither train, test nor source"),
        (("/etc/c", 0, "train", "c", ""), "path is absolute or leaves the root in 1 rows, first /etc/c"),
        (("../c", 0, "train", "c", ""), "path is absolute or leaves the root"),
        (("a", 0, "train", "c", ""), "path appears twice"),
        (("c", 0, "train", "h", ""), "group lies on both sides of the split in 2 rows, first b, c"),
    ],
)
def test_rules_of_the_body(row, sentence):
    manifest.check_body(GOOD, 2, "here")
    with pytest.raises(UserError, match=sentence):
        manifest.check_body(pd.concat([GOOD, pd.DataFrame([row], columns=COLUMNS)], ignore_index=True), 2, "here")


def test_a_benchmark_needs_both_sides(project):
    with pytest.raises(UserError, match="here: there is no test row; a benchmark needs both"):
        manifest.check_body(GOOD[:1], 2, "here")


def test_a_copied_manifest_must_take_its_own_name(project):
    for path in (paths.manifest_head("digits"), paths.manifest_body("digits")):
        path.with_name(path.name.replace("digits", "copy")).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="data_manifests/copy.json says its name is 'digits'; it must be 'copy'"):
        load_manifest("copy")


def test_a_head_names_known_builders_and_weights(project):
    edit_head(project, builder="digit")
    with pytest.raises(UserError, match="unknown builder 'digit' .did you mean 'digits'"):
        load_images(load_manifest("digits"))
    edit_head(project, weights="imagenet")
    with pytest.raises(UserError, match="unknown weights 'imagenet'; available: efficientnet_lite0_imagenet1k"):
        plan.plan("digits", "smoke", [0])
    edit_head(project, class_names=["0", "1", "2", "3", "4", "5", "6", "7", "8", "8"])
    with pytest.raises(UserError, match="field 'class_names': the class '8' is there twice"):
        load_manifest("digits")
    edit_head(project, class_names=[str(name) for name in range(10)], weights="source", class_ids=[1, 2])
    with pytest.raises(UserError, match="2 class_ids for 10 class_names"):
        load_manifest("digits")


@pytest.mark.parametrize("seeds", [[], [0, 1, 0]])
def test_seeds_are_given_once_each(project, seeds):
    with pytest.raises(UserError, match="give at least one, and each once"):
        plan.plan("digits", "smoke", seeds)
