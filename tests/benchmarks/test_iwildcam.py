import pytest

from analysis_lib import UserError
from analysis_lib.benchmarks import iwildcam
from tests.benchmarks import paper_trees


@pytest.fixture
def tree(tmp_path):
    return paper_trees.iwildcam(tmp_path / "iwildcam_v2.0")


def test_the_early_classes_are_seen_and_the_later_ones_absent(tree, capsys):
    found = iwildcam.collect(tree, ["7"])
    assert found.name == "iwildcam-7" and found.class_names == ["empty", "deer", "fox"]
    assert found.head["seen"] == ["empty", "deer"] and "after 2013-05-04" in found.head["title"]
    rows = found.rows
    assert rows["split"].value_counts().to_dict() == {"source": 6, "train": 6, "test": 3}
    assert set(rows[rows["split"] == "source"]["place"]) == {"1"} and set(rows[rows["split"] != "source"]["place"]) == {
        "7"
    }
    assert rows[rows["split"] == "test"]["date"].tolist() == ["2013-06-03", "2013-06-05", "2013-06-06"]
    train = rows[rows["split"] == "train"]
    assert train[train["date"] > "2013-05-05"][["date", "label"]].to_numpy().tolist() == [["2013-06-02", 2]], "for NCM"
    assert "classes that occur at no other place are left out: 3\n" in capsys.readouterr().err


def test_a_sequence_is_not_divided_at_midnight(tree):
    rows = iwildcam.collect(tree, ["7"], "2013-05-04").rows
    late = rows[rows["date"] == "2013-05-05"]
    assert late["split"].tolist() == ["train"], "it began the day before"
    assert (rows.groupby("group")["split"].nunique() == 1).all()


def test_until_moves_the_border(tree):
    found = iwildcam.collect(tree, ["7"], "2013-05-01")
    assert found.head["seen"] == ["empty"]
    assert found.rows.equals(iwildcam.collect(tree, ["7"], "2013-05-01T00:00:00+00:00").rows)
    assert found.rows.query("split == 'train'")["label"].tolist() == [0, 1, 2]
    deer = found.rows.query("label == 1 and place == '7'")
    assert deer.set_index("date")["split"].to_dict() == {
        "2013-05-02": "train",
        "2013-05-04": "test",
        "2013-05-05": "test",
    }


def test_source_images_are_capped(tree, monkeypatch):
    monkeypatch.setattr(iwildcam, "PER_CLASS", 1)
    rows = iwildcam.collect(tree, ["7"]).rows
    assert rows[rows["split"] == "source"]["label"].tolist() == [0, 1, 2]
    assert rows.equals(iwildcam.collect(tree, ["7"]).rows)


def test_what_cannot_be_is_refused(tree):
    with pytest.raises(UserError, match="unknown place '9'; available: 1, 7, 8"):
        iwildcam.collect(tree, ["7", "9"])
    with pytest.raises(UserError, match="place 8: 1 classes occur up to 2013-01-02 and 0 only later"):
        iwildcam.collect(tree, ["8"])
    metadata = tree / "metadata.csv"
    alone = metadata.read_text()
    metadata.write_text(alone.replace("train,1,", "val,1,"))
    with pytest.raises(UserError, match="place 7 has no class that occurs at another place; give another place"):
        iwildcam.collect(tree, ["7"])
    metadata.write_text(alone)
    with pytest.raises(UserError, match="--until is 'may'; give a day such as"):
        iwildcam.collect(tree, ["7"], "may")
    with pytest.raises(UserError, match="expected metadata.csv, categories.csv and the images in train/, found image0"):
        iwildcam.collect(tree / "train", ["7"])
    whole = metadata.read_text()
    metadata.write_text(whole.replace("datetime", "when"))
    with pytest.raises(UserError, match="expected a metadata.csv with the columns datetime"):
        iwildcam.collect(tree, ["7"])
    metadata.write_text(whole.replace("2013-06-02 10:00:00.000", "unknown"))
    with pytest.raises(UserError, match="metadata.csv has 1 rows without a date in `datetime`, first image11.jpg"):
        iwildcam.collect(tree, ["7"])
    metadata.write_text(whole)
    (tree / "categories.csv").write_text("y,name\n0,empty\n2,fox\n")
    with pytest.raises(UserError, match="categories.csv has no name for class 1"):
        iwildcam.collect(tree, ["7"])
    (tree / "categories.csv").write_text("y,animal\n0,empty\n")
    with pytest.raises(UserError, match="expected a categories.csv with the columns y and name"):
        iwildcam.collect(tree, ["7"])


def test_older_exports_name_their_columns_otherwise(tree):
    metadata = tree / "metadata.csv"
    metadata.write_text(metadata.read_text().replace("location_remapped", "a").replace("sequence_remapped", "b"))
    assert set(iwildcam.collect(tree, ["107"]).rows.query("split == 'test'")["place"]) == {"107"}


def test_tables_that_are_none_are_named(tree):
    (tree / "metadata.csv").write_text('a,b\n"open,1\n')
    with pytest.raises(UserError, match=r"cannot read .*metadata.csv .*give a CSV file of UTF-8 text with a header"):
        iwildcam.collect(tree, ["7"])
    (tree / "metadata.csv").write_text("")
    with pytest.raises(UserError, match=r"cannot read .*metadata.csv .*give a CSV file of UTF-8 text with a header"):
        iwildcam.collect(tree, ["7"])
