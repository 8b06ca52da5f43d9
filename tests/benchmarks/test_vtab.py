import shutil

import pytest

from analysis_lib import UserError
from analysis_lib.benchmarks import vtab
from tests.benchmarks import paper_trees


@pytest.fixture
def tree(tmp_path):
    return paper_trees.vtab(tmp_path / "vtab")


def lists(tree, flat):
    """VTAB-1k's lists; with `flat` the images lie in one folder, as some exports have them."""
    own = tree / "pets"
    lines = {"train800": [], "val200": [], "test": []}
    for label, name in enumerate(("cat", "ant", "bee")):  # no alphabet: the labels are the data set's
        for part in ("train", "test"):
            for number, file in enumerate(sorted((own / part / name).iterdir())):
                path = file.relative_to(own)
                if flat:
                    path = f"images/{part}/{name}{number}.png"
                    (own / path).parent.mkdir(parents=True, exist_ok=True)
                    file.rename(own / path)
                lines["test" if part == "test" else "val200" if number == 3 else "train800"].append(f"{path} {label}")
    for name, found in lines.items():
        (own / f"{name}.txt").write_text("\n".join(found))


def test_class_folders(tree):
    found = vtab.collect(tree, "pets")
    assert found.name == "vtab-pets" and found.folder == tree / "pets" and found.class_names == ["ant", "bee", "cat"]
    rows = found.rows.set_index("path")
    assert rows.loc["test/bee/test0.png", ["label", "split"]].tolist() == [1, "test"]
    assert rows["split"].value_counts().to_dict() == {"train": 12, "test": 12}


@pytest.mark.parametrize(("flat", "names"), [(False, ["cat", "ant", "bee"]), (True, ["0", "1", "2"])])
def test_the_lists_of_vtab_1k(tree, flat, names):
    lists(tree, flat)
    found = vtab.collect(tree, "pets")
    assert found.class_names == names
    assert found.rows.groupby(["label", "split"]).size().unstack().to_numpy().tolist() == [[4, 4]] * 3


def test_other_trees_are_refused(tree):
    with pytest.raises(UserError, match=r"unknown task in vtab 'pts' \(did you mean 'pets'\?\)"):
        vtab.collect(tree, "pts")
    with pytest.raises(UserError, match="expected a folder for each task, found nothing"):
        vtab.collect(tree / "nowhere", "pets")
    shutil.rmtree(tree / "pets/test/ant")
    with pytest.raises(UserError, match="task pets: 3 classes have training and 2 test images"):
        vtab.collect(tree, "pets")
    shutil.rmtree(tree / "pets/test")
    with pytest.raises(UserError, match="expected train/<class>/<image> and test/<class>/<image>, .* found train;"):
        vtab.collect(tree, "pets")
    (tree / "pets/train800.txt").write_text("train/ant/train0.png 0\n")
    with pytest.raises(UserError, match="cannot read .*val200.txt"):
        vtab.collect(tree, "pets")


def test_a_number_that_is_missing_is_named(tree):
    lists(tree, flat=False)
    file = tree / "pets" / "test.txt"
    file.write_text(file.read_text().replace(" 2\n", " 999999999\n"))
    with pytest.raises(UserError, match="its 4 classes are numbered up to 999999999, so numbers are missing"):
        vtab.collect(tree, "pets")
