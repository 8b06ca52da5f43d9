from dataclasses import replace

import pytest

from analysis_lib import UserError
from analysis_lib.benchmarks import imagenet, imagenet_r, imagenet_s
from analysis_lib.benchmarks.published import Counts
from analysis_lib.core.class_split import ClassSplit
from tests.benchmarks import paper_trees
from tests.benchmarks.paper_trees import WORDNET

NAMES = ["goldfish", "crane (n02012849)", "crane (n03126707)", "paper towel"]


@pytest.fixture
def small(monkeypatch):
    for module in (imagenet_r, imagenet_s):
        monkeypatch.setattr(module, "RENDITIONS", replace(module.RENDITIONS, classes=4, counts=Counts(12, 6, 8, 4, 4)))


@pytest.fixture
def tree(tmp_path, small):
    return paper_trees.renditions(tmp_path / "imagenet-r")


@pytest.fixture
def lists(tmp_path):
    return paper_trees.published(tmp_path / "repository")


def test_the_published_counts_are_consistent():
    for renditions in (imagenet_r.RENDITIONS, imagenet_s.RENDITIONS):
        assert renditions.counts.test_seen + renditions.counts.test_absent == renditions.counts.test
    assert len(set(imagenet._class_names(range(1000)))) == 1000, "names can tell seen classes apart"


def test_its_own_classes_are_rows_of_an_imagenet_head(tree):
    found = imagenet_r.collect(tree, columns=4)
    assert found.head["class_ids"] == sorted(WORDNET) and found.class_names == NAMES and found.head["seen"] == 0.5
    assert (
        found.rows["path"].str.split("/").str[0] == found.rows["label"].map(list(WORDNET.values()).__getitem__)
    ).all()
    assert found.rows.groupby(["label", "split"]).size().unstack().to_numpy().tolist() == [[2, 3]] * 4


def test_published_lists(tree, lists):
    found = imagenet_r.collect(tree, lists, columns=4)
    assert found.head["seen"] == ["crane (n03126707)", "goldfish"], "rows 517 and 1"
    rows = found.rows.set_index("path")
    assert rows.loc["n02012849/sketch_3.jpg", ["label", "split"]].tolist() == [1, "test"]
    assert rows["split"].value_counts().to_dict() == {"train": 12, "test": 8}


def test_sketches_have_their_own_lists(tmp_path, small, lists):
    tree = paper_trees.renditions(tmp_path / "sketch", suffix="JPEG")
    found = imagenet_s.collect(tree, lists)
    assert found.name == "imagenet-s" and found.head["seen"] == ["paper towel", "crane (n02012849)"]
    assert "n01443537/sketch_0.JPEG" in set(found.rows["path"])


def test_a_data_set_with_images_of_all_classes_has_no_further_ones(tmp_path, small, monkeypatch):
    monkeypatch.setattr(imagenet, "ALL", 4)
    monkeypatch.setattr(imagenet, "_wordnet_rows", lambda: {name: row for row, name in enumerate(WORDNET.values())})
    found = imagenet_s.collect(paper_trees.renditions(tmp_path / "sketch"))
    assert found.head["seen"] == 0.5 and found.head["title"] == "ImageNet-Sketch" and found.name == "imagenet-s"


@pytest.mark.parametrize("published", [True, False])
def test_among_all_classes_those_without_images_are_absent(tree, lists, published):
    found = imagenet_r.collect(tree, lists if published else None, columns=1000)
    assert found.name == "imagenet-r-1000" and found.head["class_ids"] == list(range(1000))
    assert set(found.rows["label"]) == set(WORDNET)
    seen = [found.class_names.index(name) for name in found.head["seen"]]
    assert len(seen) == 2 and set(seen) < set(WORDNET), "no class without images is seen"
    assert not published or set(seen) == {517, 1}
    assert len(ClassSplit(1000, seen).absent) == 998


def test_other_lists_are_refused(tree, lists):
    file = lists / "asset/ImageNet/image_list/R_testing.txt"
    whole = file.read_text()
    file.write_text(whole.replace("n01443537/sketch_4.jpg 1", "n01443537/sketch_4.jpg 2"))
    with pytest.raises(
        UserError, match="1 test images .*not their folder's row of ImageNet-1k, first imagenet-r/n0144"
    ):
        imagenet_r.collect(tree, lists, 4)
    file.write_text("\n".join(whole.split("\n")[1:]))
    with pytest.raises(UserError, match=r"lists of ImageNet-R have 12 / 6 / 7 / 3 / 4 images"):
        imagenet_r.collect(tree, lists, 4)
    paper_trees.orders(lists, "IMAGENET_TARGET_R = torch.tensor([517, 1, 700, 2])\n")
    with pytest.raises(UserError, match="the class order and the lists of ImageNet-R differ"):
        imagenet_r.collect(tree, lists, 4)


def test_other_trees_are_refused(tree):
    (tree / "n01443537").rename(tree / "goldfish")
    with pytest.raises(UserError, match="expected 4 folders named by WordNet ids, .* found README.txt, goldfish, n0"):
        imagenet_r.collect(tree, columns=4)
    with pytest.raises(UserError, match="expected 1000 folders .* found imagenet-r"):
        imagenet.collect(replace(imagenet_s.RENDITIONS, classes=1000), tree.parent, None, 1000)
