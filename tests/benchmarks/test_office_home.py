import shutil

import pytest

from analysis_lib import UserError
from analysis_lib.benchmarks import office_home
from analysis_lib.benchmarks.published import Counts
from tests.benchmarks import paper_trees
from tests.benchmarks.paper_trees import CLASSES


@pytest.fixture
def small(monkeypatch):
    """Four classes, two of them seen; each has three training and two test images."""
    monkeypatch.setattr(office_home, "CLASSES", 4)
    monkeypatch.setattr(office_home, "SEEN", 2)
    monkeypatch.setattr(office_home, "COUNTS", dict.fromkeys(office_home.COUNTS, Counts(12, 6, 8, 4, 4)))


@pytest.fixture
def tree(tmp_path, small):
    return paper_trees.office_home(tmp_path / "OfficeHome")


@pytest.fixture
def lists(tmp_path):
    return paper_trees.published(tmp_path / "repository")


def test_the_published_counts_are_consistent():
    assert all(c.test_seen + c.test_absent == c.test and c.train_seen < c.train for c in office_home.COUNTS.values())
    assert len(office_home.COUNTS) == 6


def test_without_lists_classes_are_sorted_and_the_split_is_ours(tree):
    found = office_home.collect(tree, "Ar-Cl")
    assert found.name == "office-home-ar-cl" and found.class_names == sorted(CLASSES) and found.head["seen"] == 2 / 4
    rows = found.rows
    assert set(rows.loc[rows["split"] == "source", "path"].str.split("/").str[0]) == {"Art"}
    target = rows[rows["split"] != "source"]
    assert set(target["path"].str.split("/").str[0]) == {"Clipart"}
    for part, per_class in (("source", 5), ("train", 3), ("test", 2)):
        assert (rows[rows["split"] == part].groupby("label").size() == per_class).all(), part
    assert (rows["path"].str.split("/").str[1] == rows["label"].map(dict(enumerate(found.class_names)))).all()
    assert rows.equals(office_home.collect(tree, "Ar-Cl").rows), "the same rows each time"
    other = office_home.collect(tree, "Rw-Cl").rows.query("split == 'test'")["path"].tolist()
    assert target.query("split == 'test'")["path"].tolist() != other, "another task draws another split"


def test_published_lists_give_labels_split_and_seen_classes(tree, lists):
    found = office_home.collect(tree, "Ar-Rw", lists)
    assert found.class_names == CLASSES, "the published labels, not the alphabet"
    assert found.head["seen"] == ["Alarm_Clock", "Exit_Sign"], "labels 3 and 1, the first two of the order"
    rows = found.rows.set_index("path")
    assert rows.loc["Real World/Drill/00005.jpg", ["label", "split"]].tolist() == [0, "test"]
    assert rows.loc["Real World/Alarm_Clock/00001.jpg", ["label", "split"]].tolist() == [3, "train"]
    assert set(rows.loc[rows.index.str.startswith("Art/"), "split"]) == {"source"}
    assert rows["split"].value_counts().to_dict() == {"source": 20, "train": 12, "test": 8}
    assert office_home.collect(tree, "Rw-Ar", lists).head["seen"] == ["Bottle", "Drill"], "an order for each source"


def test_the_lists_spelling_of_real_world_is_found_too(tree, lists):
    (tree / "Real World").rename(tree / "Real_World")
    assert "Real_World/Drill/00005.jpg" in set(office_home.collect(tree, "Ar-Rw", lists).rows["path"])


def test_other_lists_are_refused(tree, lists):
    file = lists / "asset/OfficeHome/image_list/Clipart_training.txt"
    whole = file.read_text()
    file.write_text(whole.split("\n", 1)[1])
    with pytest.raises(UserError, match=r"lists of Ar-Cl have 11 / 6 / 8 / 4 / 4 images .*expected 12 / 6 / 8 / 4 / 4"):
        office_home.collect(tree, "Ar-Cl", lists)
    file.write_text(whole.replace("Clipart/Drill/00001.jpg 0", "Clipart/Drill/00001.jpg 1"))
    with pytest.raises(UserError, match="the lists have 4 labels for 4 class folders; expected 4, one to one"):
        office_home.collect(tree, "Ar-Cl", lists)
    file.write_text(whole)
    paper_trees.orders(lists, "OFFICEHOME_SOURCE_AR = torch.tensor([3, 1, 0, 4])\n")
    with pytest.raises(UserError, match=r"the class order of Ar-Cl is no order of 0\.\.3"):
        office_home.collect(tree, "Ar-Cl", lists)


def test_other_trees_and_tasks_are_refused(tree):
    with pytest.raises(UserError, match=r"unknown task 'Ar-Art' \(did you mean 'Ar-Pr'\?\)"):
        office_home.collect(tree, "Ar-Art")
    with pytest.raises(
        UserError, match="expected Art, Clipart, .* found Alarm_Clock, .*give the folder that holds these"
    ):
        office_home.collect(tree / "Art", "Ar-Cl")
    with pytest.raises(UserError, match="expected Art, .* found nothing"):
        office_home.collect(tree / "absent", "Ar-Cl")
    shutil.rmtree(tree / "Clipart" / "Drill")
    with pytest.raises(UserError, match="Clipart has 3 class folders with images; expected 4"):
        office_home.collect(tree, "Ar-Cl")


def test_copies_of_a_file_lie_on_one_side(tree):
    files = sorted((tree / "Clipart").glob("*/*"))
    own = [file for file in files if file.parent == files[0].parent]
    for copy in own[1:4]:
        shutil.copyfile(own[0], copy)
    rows = office_home.collect(tree, "Ar-Cl").rows.query("split != 'source'")
    copies = rows[rows["path"].isin([f"Clipart/{file.parent.name}/{file.name}" for file in own[:4]])]
    assert len(copies) == 4 and copies["group"].nunique() == 1 and copies["split"].nunique() == 1
