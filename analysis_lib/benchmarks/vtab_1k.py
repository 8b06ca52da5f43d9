"""VTAB-1k: 19 tasks of 1,000 training images, each as two benchmarks over the user's own copy.

`vtab1k-<task>-search` trains on the 800 and is tested on the 200; it has no test image. `vtab1k-<task>` trains on all
1,000 and is tested on the test images. Where: as `vtab`. Tree: <folder>/<task>/ with the lists train800.txt,
val200.txt and test.txt, whose lines are `relative/path label`.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..core import paths
from ..core.errors import UserError
from .collection import rows_of, wrong_tree
from .manifest import Manifest, load_manifest
from .own_data import hash_files, write_manifest
from .published import read_list
from .vtab import ORIGIN, TEST_LIST

NATURAL, SPECIALIZED, STRUCTURED = "natural", "specialized", "structured"


@dataclass(frozen=True)
class Task:
    """The group of a task and the number of its classes. Classes are called by their numbers."""

    group: str
    classes: int


TASKS = {  # named as their folders
    "caltech101": Task(NATURAL, 102),
    "cifar": Task(NATURAL, 100),
    "dtd": Task(NATURAL, 47),
    "oxford_flowers102": Task(NATURAL, 102),
    "oxford_iiit_pet": Task(NATURAL, 37),
    "sun397": Task(NATURAL, 397),
    "svhn": Task(NATURAL, 10),
    "diabetic_retinopathy": Task(SPECIALIZED, 5),
    "eurosat": Task(SPECIALIZED, 10),
    "patch_camelyon": Task(SPECIALIZED, 2),
    "resisc45": Task(SPECIALIZED, 45),
    "clevr_count": Task(STRUCTURED, 8),
    "clevr_dist": Task(STRUCTURED, 6),
    "dmlab": Task(STRUCTURED, 6),
    "dsprites_loc": Task(STRUCTURED, 16),
    "dsprites_ori": Task(STRUCTURED, 16),
    "kitti": Task(STRUCTURED, 4),
    "smallnorb_azi": Task(STRUCTURED, 18),
    "smallnorb_ele": Task(STRUCTURED, 9),
}
SEARCHED = {"train800.txt": ("train", 800), "val200.txt": ("test", 200)}  # the split in the search, and how many


@dataclass(frozen=True)
class TaskManifests:
    """The two benchmarks of a task: `search` for the choice of hyper-parameters, `whole` for the report."""

    task: str
    search: Manifest
    whole: Manifest


def read_task(folder: Path, task: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of both benchmarks of a task: of the search, and of the whole.

    A class may lack images in a list, as some of VTAB-1k's do. Raises UserError for a missing folder or list, a list of
    another length, a label that the task does not have, an image that is listed twice, and one that is not there.
    """
    own = folder / task
    if not own.is_dir():
        raise wrong_tree(folder, f"a folder {task} with the lists of VTAB-1k")
    parts = []
    for name, (split, count) in SEARCHED.items():
        listed = read_list(own, name)
        if len(listed) != count:
            raise UserError(f"task {task}: {name} lists {len(listed)} images and must list {count}; restore the list")
        parts.append(rows_of(listed, split))
    search = pd.concat(parts, ignore_index=True)
    tested = rows_of(read_list(own, TEST_LIST), "test")
    whole = pd.concat([search.assign(split="train"), tested], ignore_index=True)
    classes = TASKS[task].classes
    if whole["label"].max() >= classes:
        raise UserError(
            f"task {task}: its lists have the label {whole['label'].max()} and its {classes} classes are numbered from "
            "0; restore the lists"
        )
    twice = whole["path"].duplicated()
    if twice.any():
        raise UserError(
            f"task {task}: {twice.sum()} images are listed twice, first {whole.loc[twice, 'path'].iloc[0]}; restore "
            "the lists, which share no image"
        )
    missing = [file for file in whole["path"] if not (own / file).is_file()]
    if missing:
        raise UserError(
            f"task {task}: {len(missing)} of {len(whole)} listed images are not in {paths.display(own)}, first "
            f"{missing[0]}; restore them"
        )
    return search, whole


def write_task(folder: Path, task: str, network: dict) -> TaskManifests:
    """Write the manifests of a task, and read them again. Files that an earlier manifest lists are not hashed again.

    network : the fields of the manifest's head that name the starting network and the looks of its images. Raises
    UserError as `read_task`.
    """
    search, whole = read_task(folder, task)
    own, name = folder / task, _name(task)
    hashes = _hashes(name, own, whole["path"].tolist())
    head = {
        "seen": 0.5,  # without a meaning here: the runs of the study train on all classes
        "recipe": "vtab",
        "stretched": True,
        "augmentation": {"scale": (1.0, 1.0), "flip": False},
    } | network
    class_names = [str(number) for number in range(TASKS[task].classes)]
    for target, rows, title in ((name, whole, ""), (f"{name}-search", search, ", the search")):
        rows = rows.assign(sha256=hashes[: len(rows)])
        write_manifest(target, own, rows, class_names, head | {"title": f"VTAB-1k, {task}{title}"}, [ORIGIN])
    return load_task(task)


def load_task(task: str) -> TaskManifests:
    """The manifests of a task, read again. Raises UserError where they are not written."""
    return TaskManifests(task, load_manifest(f"{_name(task)}-search"), load_manifest(_name(task)))


def _name(task: str) -> str:
    return f"vtab1k-{task}"


def _hashes(name: str, own: Path, files: list[str]) -> list[str]:
    """The sha256 of each file, as an earlier manifest of the same files says or computed now."""
    if paths.manifest_head(name).exists():
        earlier = load_manifest(name)
        if earlier.body["path"].tolist() == files and paths.image_folder(earlier.head.source) == own.resolve():
            return earlier.body["sha256"].tolist()
    return hash_files(own, files)
