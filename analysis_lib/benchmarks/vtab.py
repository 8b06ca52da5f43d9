"""`vtab`: one task of the Visual Task Adaptation Benchmark, exported as image files.

Where: the VTAB project ("A Large-scale Study of Representation Learning with the Visual Task Adaptation Benchmark",
Zhai et al., 2019), Apache-2.0 for its code; each data set in it has a licence of its own.
Tree: <folder>/<task>/{train,test}/<class>/<image>; or VTAB-1k, <folder>/<task>/ with the lists train800.txt, val200.txt
and test.txt, whose lines are `relative/path label`.
"""

from pathlib import Path, PurePosixPath

import pandas as pd

from ..core.errors import UserError, unknown
from .benchmark import Benchmark
from .collection import Collection, class_files, origin, rows_of, wrong_tree
from .folder import decode_folder
from .paper_recipe import with_paper
from .published import read_list

TRAIN_LISTS, TEST_LIST = ("train800.txt", "val200.txt"), "test.txt"
ORIGIN = origin("VTAB", "X. Zhai et al.", "of the task's own data set")


def collect(folder: Path, task: str) -> Collection:
    """The images of a task; half of its classes are seen, drawn by the seed.

    Where VTAB-1k's lists are present, the training images are its 800 and 200: no choice is made here on those 200.
    Classes are then called by their folder if each has one of its own, else by their number. Raises UserError for an
    unknown task, for another tree, and for classes that differ between train and test.
    """
    tasks = sorted(child.name for child in folder.iterdir() if child.is_dir()) if folder.is_dir() else []
    if not tasks:
        raise wrong_tree(folder, "a folder for each task")
    if task not in tasks:
        raise unknown(f"task in {folder.name}", task, tasks)
    own = folder / task
    listed = (own / TRAIN_LISTS[0]).is_file()
    rows, names = _from_lists(own) if listed else _from_folders(own)
    sides = [set(rows.loc[rows["split"] == side, "label"]) for side in ("train", "test")]
    if sides[0] != sides[1] or len(sides[0]) != len(names):
        raise UserError(
            f"task {task}: {len(sides[0])} classes have training and {len(sides[1])} test images, and they differ; "
            "expected the same classes in both; export the task again"
        )
    head = {"title": f"VTAB, {task}", "seen": 0.5, "recipe": "vtab"}
    return Collection(f"vtab-{task}", own, rows, names, head, [ORIGIN])


def _from_folders(own: Path) -> tuple[pd.DataFrame, list[str]]:
    """Rows and class names of train/<class> and test/<class>."""
    found = {side: class_files(own / side) for side in ("train", "test")}
    if not all(found.values()):
        raise wrong_tree(own, "train/<class>/<image> and test/<class>/<image>, or the lists of VTAB-1k")
    names = sorted(set(found["train"]) | set(found["test"]))
    parts = [
        rows_of([(f"{side}/{path}", names.index(name)) for name, files in classes.items() for path in files], side)
        for side, classes in found.items()
    ]
    return pd.concat(parts, ignore_index=True), names


def _from_lists(own: Path) -> tuple[pd.DataFrame, list[str]]:
    """Rows and class names of VTAB-1k's lists."""
    parts = [rows_of(read_list(own, name), "train") for name in TRAIN_LISTS]
    rows = pd.concat([*parts, rows_of(read_list(own, TEST_LIST), "test")], ignore_index=True)
    folders = rows["path"].map(lambda path: PurePosixPath(path).parent.name)
    by_label = folders.groupby(rows["label"]).agg(lambda found: found.iloc[0] if found.nunique() == 1 else None)
    if by_label.index[-1] >= len(by_label):
        raise UserError(
            f"task {own.name}: its {len(by_label)} classes are numbered up to {by_label.index[-1]}, so numbers are "
            "missing; export the task again"
        )
    if by_label.isna().any() or by_label.nunique() != len(by_label):
        return rows, [str(number) for number in by_label.index]
    return rows, by_label.tolist()


BENCHMARK = Benchmark(decode_folder, recipes=with_paper(rounds=50, weight_decay=1e-4))
