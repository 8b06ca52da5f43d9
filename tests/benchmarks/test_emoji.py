from pathlib import Path

import pandas as pd
import pytest

from analysis_lib.benchmarks import emoji
from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.core import paths

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def benchmark():
    """The real benchmark in the checkout itself: its images are downloaded and rendered once."""
    manifest = load_manifest("emoji")
    return manifest, load_images(manifest)


def test_images_are_pictures_on_white(benchmark):
    manifest, images = benchmark
    assert images.shape == (len(manifest.body), 3, 128, 128)
    ink = (images < 250).any(1).flatten(1).float().mean(1)
    assert ink.min() > 0.02, manifest.body["path"][int(ink.argmin())]


def test_no_drawing_lies_on_both_sides_of_the_split(benchmark):
    manifest, images = benchmark
    train, test = manifest.rows("train"), manifest.rows("test")
    alike = emoji.similarity(images[test], images[train])
    worst = alike.argmax().item()
    pair = manifest.body["path"][int(test[worst // len(train)])], manifest.body["path"][int(train[worst % len(train)])]
    assert alike.max() <= emoji.SAME_DRAWING, pair


def test_the_near_duplicate_check_can_fail(benchmark):
    _, images = benchmark
    one = images[:1]
    slightly = (one.float() * 0.9 + 10).byte().roll(1, 3)
    assert emoji.similarity(one, slightly).item() > emoji.SAME_DRAWING
    assert emoji.similarity(one, one.flip(3)).item() > 0.999


def test_split_by_class_and_drawing_family(benchmark):
    body = benchmark[0].body
    family = body["path"].str.split("/").str[0].map(emoji.FAMILIES)
    assert body.groupby([body["label"], family])["split"].nunique().eq(1).all()
    assert body.groupby("label").size().min() >= emoji.MIN_IMAGES
    per_class = pd.crosstab(body["label"], body["split"])
    assert per_class.min(axis=None) >= 1
    assert 0.28 < (body["split"] == "test").mean() < 0.38


def test_the_class_map_names_every_class_and_every_rejection(benchmark):
    head = benchmark[0].head
    classes = pd.read_csv(paths.emoji_classes(), keep_default_na=False)
    accepted = classes[classes["rejected_because"] == ""]
    assert classes["icon"].is_unique
    assert set(head.class_ids) <= set(accepted["imagenet_index"])
    assert accepted.groupby("imagenet_index")["name"].nunique().eq(1).all()
    names = accepted.drop_duplicates("imagenet_index").set_index("imagenet_index")["name"]
    assert [names[c] for c in head.class_ids] == head.class_names
    assert set(" ".join(classes["excluded_sets"]).split()) <= set(emoji.FAMILIES)


def test_the_names_are_those_of_imagenet(benchmark):
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    for line in pd.read_csv(paths.emoji_classes()).itertuples():
        assert info.index_to_label_name(line.imagenet_index) == line.wnid
        assert info.index_to_description(line.imagenet_index).split(",")[0] == line.name


def test_the_manifest_can_be_made_again_from_its_sources(benchmark, project):
    """The same packages and class map give the same manifest, byte for byte."""
    before = [path.read_bytes() for path in (paths.manifest_head("emoji"), paths.manifest_body("emoji"))]
    (project / "data").mkdir()
    (project / "data" / "packages").symlink_to(REPOSITORY / "data" / "packages")
    emoji.make_manifest()
    assert [path.read_bytes() for path in (paths.manifest_head("emoji"), paths.manifest_body("emoji"))] == before
