"""`office-home`: six tasks between the domains of Office-Home, by the paper's protocol.

Where: the Office-Home project page ("Deep Hashing Network for Unsupervised Domain Adaptation", Venkateswara et al.,
CVPR 2017). Its images were gathered from the web; the authors give them for non-commercial research and education.
Tree: <folder>/{Art,Clipart,Product,Real World}/<class>/<image>, 65 classes in each.

The starting network is trained on all classes of the source domain, then fine-tuned on the seen ones of the target.
"""

from pathlib import Path, PurePosixPath

import pandas as pd

from ..core.errors import UserError, unknown
from .benchmark import Benchmark
from .collection import Collection, class_files, divided, origin, rows_of, wrong_tree
from .folder import decode_folder
from .manifest import SOURCE
from .paper_recipe import with_paper
from .published import Counts, check_counts, class_order, read_list, seen_classes

CLASSES, SEEN = 65, 30
DOMAINS = {"Ar": "Art", "Cl": "Clipart", "Pr": "Product", "Rw": "Real World"}
COUNTS = {
    "Ar-Cl": Counts(3035, 1471, 1330, 646, 684),
    "Ar-Pr": Counts(3078, 1265, 1361, 561, 800),
    "Ar-Rw": Counts(3022, 1413, 1335, 624, 711),
    "Rw-Ar": Counts(1677, 857, 750, 379, 371),
    "Rw-Cl": Counts(3035, 1493, 1330, 652, 678),
    "Rw-Pr": Counts(3078, 1459, 1361, 645, 716),
}
ORIGIN = origin(
    "Office-Home",
    "H. Venkateswara, J. Eusebio, S. Chakraborty, S. Panchanathan",
    "for non-commercial research and education, by the notice of its authors",
)


def collect(folder: Path, task: str, lists: Path | None = None) -> Collection:
    """The images of a task such as `Ar-Cl`: the source domain as source rows, the target domain as train and test.

    With `lists`, a copy of the published repository, labels, split and seen classes are the published ones, and their
    numbers are checked; else classes are sorted by name, the split is ours and 30 seen classes are drawn by the seed.
    Raises UserError for an unknown task, a folder without the domains, another number of classes, or other lists.
    """
    if task not in COUNTS:
        raise unknown("task", task, COUNTS)
    source, target = task.split("-")
    found = {domain: class_files(_domain_folder(folder, domain)) for domain in (source, target)}
    for domain, classes in found.items():
        if len(classes) != CLASSES or list(classes) != list(found[source]):
            raise UserError(
                f"{DOMAINS[domain]} has {len(classes)} class folders with images; expected {CLASSES}, of equal names "
                f"in {DOMAINS[source]} and {DOMAINS[target]}; unpack the data set again"
            )
    if lists:
        rows, names, seen = _published(folder, task, lists)
    else:
        names, seen = list(found[source]), SEEN / CLASSES
        parts = [
            rows_of([(f"{where}/{path}", names.index(name)) for name, files in classes.items() for path in files], "")
            for where, classes in ((_domain_folder(folder, domain).name, found[domain]) for domain in (source, target))
        ]
        rows = pd.concat([parts[0].assign(split=SOURCE), divided(parts[1], folder, task)], ignore_index=True)
    title = f"Office-Home, from {DOMAINS[source]} to {DOMAINS[target]}"
    head = {"title": title, "seen": seen, "recipe": "office-home"}
    return Collection(f"office-home-{task.lower()}", folder, rows, names, head, [ORIGIN])


def _domain_folder(folder: Path, domain: str) -> Path:
    """The folder of a domain; the lists write `Real_World` for what unpacks as `Real World`. Raises UserError."""
    for name in (DOMAINS[domain], DOMAINS[domain].replace(" ", "_")):
        if (folder / name).is_dir():
            return folder / name
    raise wrong_tree(folder, f"{', '.join(DOMAINS.values())} with <class>/<image> in each")


def _published(folder: Path, task: str, repository: Path) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Rows, class names and seen classes by the published lists."""
    parts = []
    for domain in task.split("-"):
        for part in ("train", "test"):
            listed = read_list(repository, _list_name(domain, part))
            where = _domain_folder(folder, domain).name
            moved = [("/".join((where, *PurePosixPath(path).parts[1:])), label) for path, label in listed]
            parts.append(rows_of(moved, SOURCE if domain == task[:2] else part))
    rows = pd.concat(parts, ignore_index=True)
    names = _names(rows)
    order = class_order(repository, f"OFFICEHOME_SOURCE_{task[:2].upper()}")
    seen = seen_classes(order, SEEN, CLASSES - SEEN)
    if sorted(order) != list(range(CLASSES)):
        raise UserError(f"the class order of {task} is no order of 0..{CLASSES - 1}; restore the published repository")
    check_counts(rows, seen, COUNTS[task], task)
    return rows, names, [names[label] for label in seen]


def _list_name(domain: str, part: str) -> str:
    return f"asset/OfficeHome/image_list/{DOMAINS[domain].replace(' ', '_')}_{part}ing.txt"


def _names(rows: pd.DataFrame) -> list[str]:
    """The class folder of each label. Raises UserError unless labels and folders are one to one."""
    pairs = rows.assign(name=rows["path"].map(lambda path: PurePosixPath(path).parent.name))
    pairs = pairs[["label", "name"]].drop_duplicates().sort_values("label")
    if pairs["label"].tolist() != list(range(CLASSES)) or pairs["name"].nunique() != CLASSES:
        raise UserError(
            f"the lists have {pairs['label'].nunique()} labels for {pairs['name'].nunique()} class folders; expected "
            f"{CLASSES}, one to one; restore the published repository"
        )
    return pairs["name"].tolist()


BENCHMARK = Benchmark(
    decode_folder,
    # ours: the published code has no source training
    source_recipe={"epochs": 30, "lr": 1e-2, "weight_decay": 5e-4, "batch_size": 64, "backbone_lr_scale": 0.1},
    recipes=with_paper(rounds=20, weight_decay=5e-4),
)
