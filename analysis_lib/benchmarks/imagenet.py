"""What ImageNet-R and ImageNet-Sketch share: class folders named by WordNet ids, and the classes of ImageNet-1k."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd
import torch

from ..core.errors import UserError
from ..core.seeds import generator_for
from .collection import Collection, class_files, divided, rows_of, wrong_tree
from .published import Counts, check_counts, class_order, read_list, seen_classes

ALL = 1000  # classes of ImageNet-1k


@dataclass(frozen=True)
class Renditions:
    """One of the two data sets.

    letter : its name in the published repository, R or S. classes : how many have images; half of them are seen.
    counts : numbers of images in the published lists.
    """

    name: str
    title: str
    letter: str
    classes: int
    counts: Counts
    origin: dict

    @property
    def seen(self) -> int:
        return self.classes // 2


def collect(renditions: Renditions, folder: Path, lists: Path | None, columns: int) -> Collection:
    """The images of a data set; class_ids are the rows of an ImageNet-1k head that its network keeps.

    columns : `renditions.classes` to score over its own classes, or 1000 for a head with all classes of ImageNet, most
    of which may have no image: they count as absent. With `lists`, a copy of the published repository, split and seen
    classes are the published ones, and their numbers are checked. Else the split is ours, and half of the classes with
    images are seen: drawn by the seed, or once for all seeds where classes without images are absent too. Raises
    UserError for another tree, and for other lists.
    """
    ids = _wordnet_rows()
    found = class_files(folder)
    strangers = [name for name in found if name not in ids]
    if len(found) != renditions.classes or strangers:
        raise wrong_tree(folder, f"{renditions.classes} folders named by WordNet ids, such as n01443537/<image>")
    present = sorted(ids[name] for name in found)
    kept = list(range(ALL)) if columns == ALL else present
    further = columns != renditions.classes  # columns without images
    names = _class_names(kept)
    if lists:
        rows, seen = _published(renditions, lists, ids)
    else:
        pairs = [(path, ids[name]) for name, files in found.items() for path in files]
        rows = divided(rows_of(pairs, ""), folder, renditions.name)
        seen = _drawn(present, renditions) if further else None
    rows = rows.assign(label=rows["label"].map(kept.index))
    head = {
        "title": f"{renditions.title}, among all classes of ImageNet-1k" if further else renditions.title,
        "class_ids": kept,
        "seen": 0.5 if seen is None else [names[kept.index(row)] for row in seen],
        "recipe": renditions.name,
    }
    name = f"{renditions.name}-{ALL}" if further else renditions.name
    return Collection(name, folder, rows, names, head, [renditions.origin])


def _wordnet_rows() -> dict[str, int]:
    """The row of an ImageNet-1k head for each WordNet id."""
    from timm.data import ImageNetInfo  # heavy, and only needed here

    return {name: row for row, name in enumerate(ImageNetInfo("imagenet-1k").label_names())}


def _class_names(rows: Sequence[int]) -> list[str]:
    """Names for people: the first word of a class's description, with its WordNet id where classes share it."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    first = [info.index_to_description(row).split(",")[0] for row in range(ALL)]
    shared = Counter(first)
    return [first[row] if shared[first[row]] == 1 else f"{first[row]} ({info.label_names()[row]})" for row in rows]


def _published(renditions: Renditions, repository: Path, ids: dict[str, int]) -> tuple[pd.DataFrame, list[int]]:
    """Rows and seen classes by the published lists, both with rows of an ImageNet-1k head as labels."""
    parts = []
    for part in ("train", "test"):
        listed = read_list(repository, f"asset/ImageNet/image_list/{renditions.letter}_{part}ing.txt")
        wrong = [path for path, label in listed if ids.get(PurePosixPath(path).parent.name) != label]
        if wrong:
            raise UserError(
                f"{len(wrong)} {part} images of the lists have a label that is not their folder's row of ImageNet-1k, "
                f"first {wrong[0]}; restore the published repository"
            )
        parts.append(rows_of([("/".join(PurePosixPath(path).parts[1:]), label) for path, label in listed], part))
    rows = pd.concat(parts, ignore_index=True)
    order = class_order(repository, f"IMAGENET_TARGET_{renditions.letter}")
    seen = seen_classes(order, renditions.seen, renditions.classes - renditions.seen)
    if set(order) != set(rows["label"]):
        raise UserError(f"the class order and the lists of {renditions.title} differ; restore the published repository")
    check_counts(rows, seen, renditions.counts, renditions.title)
    return rows, seen


def _drawn(present: Sequence[int], renditions: Renditions) -> list[int]:
    """Half of the classes that have images. A share in the head would be drawn from all 1000."""
    order = torch.randperm(len(present), generator=generator_for("seen", renditions.name))
    return sorted(present[place] for place in order[: renditions.seen].tolist())
