"""The contents of a benchmark: counts of classes and images, and a few pictures."""

from collections.abc import Sequence

import pandas as pd
import torch

from ..core.seeds import generator_for
from .manifest import Manifest


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


def gallery(manifest: Manifest, seed: int, most: int = 32) -> tuple[list[int], list[str]]:
    """Rows of one training image for up to `most` classes that have any, and titles that say whether each is seen."""
    split = manifest.class_split(seed)
    labels, train = manifest.labels, manifest.rows("train")
    drawn = torch.randperm(split.num_classes, generator=generator_for("gallery", manifest.name, seed))
    order = drawn[torch.isin(drawn, labels[train])][:most].sort().values
    rows, titles = [], []
    for label in order.tolist():
        own = train[labels[train] == label]
        place = torch.randint(len(own), (), generator=generator_for("gallery", manifest.name, seed, label))
        rows.append(own[place].item())
        group = "seen" if label in split.seen else "absent"
        titles.append(f"{manifest.class_names[label][:14]} ({group})")
    return rows, titles
