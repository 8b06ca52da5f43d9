"""A user's copy of a public data set, read and checked, ready to become a manifest."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from ..core import paths
from ..core.errors import UserError, unknown
from .manifest import SOURCE
from .own_data import hash_files
from .own_split import draw_split, merged_groups

TEST_SHARE = 0.3  # of every class, where the data set has no test part of its own


@dataclass(frozen=True)
class Collection:
    """What `own_data.write_manifest` takes.

    name : the manifest's name, unless the user gives another.
    rows : columns path (relative to `folder`), label, split, group, and date and place where they are known.
    head : fields of `manifest.Head` that the data decide: title, seen, recipe, and class_ids or weights.
    origins : licences of the images, as `manifest.Licence`.
    """

    name: str
    folder: Path
    rows: pd.DataFrame
    class_names: list[str]
    head: dict
    origins: list[dict]

    @property
    def trains_on_source(self) -> bool:
        """Whether it has images of a source domain, on which the starting network is trained."""
        return SOURCE in set(self.rows["split"])


def origin(name: str, author: str, licence: str) -> dict:
    """The `manifest.Licence` of a data set that users get by themselves."""
    own = {"package": "none, the user's own copy", "version": "none", "integrity": "per-image sha256"}
    return {"name": name, "author": author, "licence": licence} | own


def wrong_tree(folder: Path, expected: str) -> UserError:
    """The error for a folder that is not laid out as `expected`; it lists the first things found in it."""
    names = sorted(child.name for child in folder.iterdir()) if folder.is_dir() else []
    found = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "") if names else "nothing"
    return UserError(
        f"{paths.display(folder)} is not laid out as expected: expected {expected}, found {found}; give the folder "
        "that holds these"
    )


def class_files(folder: Path) -> dict[str, list[str]]:
    """The image files of each sub-folder that has any, as paths below `folder`; both are sorted."""
    found = {}
    for file in sorted(folder.glob("*/**/*")):
        if file.suffix.lower() in Image.registered_extensions() and not file.name.startswith("."):
            below = file.relative_to(folder)
            found.setdefault(below.parts[0], []).append(below.as_posix())
    return found


def rows_of(paths_and_labels: Sequence[tuple[str, int]], split: str) -> pd.DataFrame:
    """Rows of one split; each image is a group of its own."""
    rows = pd.DataFrame(paths_and_labels, columns=["path", "label"])
    return rows.assign(split=split, group=rows["path"])


def divided(rows: pd.DataFrame, folder: Path, name: str) -> pd.DataFrame:
    """The rows with `TEST_SHARE` of each class as test and the others as train, drawn by a named seed.

    Equal files are one group, so they lie on one side. A class of two or more groups has both sides.
    """
    groups = merged_groups(rows["group"].tolist(), hash_files(folder, rows["path"].tolist()))
    return rows.assign(group=groups, split=draw_split(groups, rows["label"].tolist(), TEST_SHARE, name))


def network_fields(model: str, image_size: int | None) -> dict:
    """The head fields of a timm classifier: its name, and the size and scaling of its images as timm states them.

    Images are cropped to 8 to 100 % of their area and flipped, as is usual for ImageNet. Raises UserError for an
    unknown model, and for a size that it does not take.
    """
    import timm  # heavy, and only needed here

    if not timm.is_model(model):
        raise unknown("timm architecture", model, timm.list_models())
    try:
        stated = timm.models.get_pretrained_cfg(model)
    except RuntimeError as error:  # an unknown tag behind the name
        raise UserError(f"timm has no {model!r} ({str(error).rstrip('.')}); leave out what follows the dot") from None
    own = stated.input_size[1]
    if image_size is not None and image_size < 1:
        raise UserError(f"--image-size is {image_size}; give 1 or more")
    if stated.fixed_input_size and image_size not in (None, own):
        raise UserError(f"{model} takes images of {own} pixels only; leave out --image-size or choose another model")
    return {
        "model": model,
        "image_size": image_size or own,
        "mean": stated.mean,
        "std": stated.std,
        "augmentation": {"scale": (0.08, 1.0), "flip": True},
    }
