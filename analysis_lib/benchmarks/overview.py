"""The contents of a benchmark: counts of classes and images, and a few pictures."""

from collections.abc import Sequence

import pandas as pd
import torch

from ..core.seeds import generator_for
from .manifest import SOURCE, Manifest


def overview(manifest: Manifest, seeds: Sequence[int]) -> pd.DataFrame:
    """Numbers of classes and images per seed: columns seed, group, classes, train, test.

    Training images of absent classes are never used in fine-tuning, only by the NCM probe.
    """
    rows = []
    for seed in seeds:
        split = manifest.class_split(seed)
        seen = split.is_seen(manifest.labels)
        for group, classes, mask in (("seen", split.seen, seen), ("absent", split.absent, ~seen)):
            counts = {part: int(mask[manifest.rows(part)].sum()) for part in ("train", "test")}
            rows.append({"seed": seed, "group": group, "classes": len(classes), **counts})
    return pd.DataFrame(rows)


def class_counts(manifest: Manifest) -> pd.DataFrame:
    """Numbers of images: a row for each class and one for all, a column for each split that occurs."""
    counts = pd.crosstab(manifest.body["label"], manifest.body["split"])
    counts = counts.reindex(range(len(manifest.class_names)), fill_value=0)
    counts = counts[[part for part in ("train", "test", SOURCE) if part in counts]]
    total = counts.sum().to_frame("all").T
    return pd.concat([counts.set_axis(manifest.class_names), total]).rename_axis(columns=None)


def one_of_each(manifest: Manifest, most: int = 64) -> tuple[list[int], list[str]]:
    """Rows of one image for each split of a class, for as many drawn classes as `most` images allow, and titles."""
    pairs = manifest.body.groupby(["label", "split"]).ngroups
    classes = len(manifest.class_names)
    order = torch.randperm(classes, generator=generator_for("contact sheet", manifest.name))
    chosen = order[: max(1, most * classes // pairs)].sort().values.tolist()
    rows, titles = [], []
    for label in chosen:
        for part in ("train", "test", SOURCE):
            own = manifest.rows(part)[manifest.labels[manifest.rows(part)] == label]
            if len(own):
                generator = generator_for("contact sheet", manifest.name, label, part)
                rows.append(own[torch.randint(len(own), (), generator=generator)].item())
                titles.append(f"{manifest.class_names[label][:14]} ({part})")
    return rows, titles


def gallery(manifest: Manifest, seed: int, most: int = 32) -> tuple[list[int], list[str]]:
    """Rows of one training image for up to `most` classes that have any, and titles that say whether each is seen."""
    split = manifest.class_split(seed)
    labels, train = manifest.labels, manifest.rows("train")
    drawn = torch.randperm(split.num_classes, generator=generator_for("gallery", manifest.name, seed))
    order = drawn[torch.isin(drawn, labels[train])][:most].sort().values
    rows, titles = [], []
    for label in order.tolist():
        own = train[labels[train] == label]
        if not len(own):  # the classes of someone's own data need no training image
            continue
        place = torch.randint(len(own), (), generator=generator_for("gallery", manifest.name, seed, label))
        rows.append(own[place].item())
        group = "seen" if label in split.seen else "absent"
        titles.append(f"{manifest.class_names[label][:14]} ({group})")
    return rows, titles
