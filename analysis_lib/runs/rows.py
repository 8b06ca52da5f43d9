"""Which images of a manifest a run trains on, and on which it is tested."""

from collections.abc import Sequence

import torch

from ..benchmarks.manifest import Manifest
from ..core.class_split import ClassSplit
from ..core.errors import UserError
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for, seed_for


def split_parts(manifest: Manifest, spec: RunSpec, split: ClassSplit) -> dict[str, torch.Tensor]:
    """Row numbers of `train` and `test`.

    With `spec.validation` both come from the training rows, so that choosing hyper-parameters uses no test image. The
    test part is then a fifth of each class's groups, at least one if the class has several. Raises UserError if no seen
    image is left.
    """
    train, test = manifest.rows("train"), manifest.rows("test")
    if spec.validation:
        groups = manifest.body.iloc[train.numpy()].groupby("label")["group"].unique()
        held = set()
        for names in groups:
            held.update(_drawn(names, spec.seed))
        out = torch.tensor(manifest.body["group"].iloc[train.numpy()].isin(held).to_numpy())
        train, test = train[~out], train[out]
    if not split.is_seen(manifest.labels[train]).any():
        raise UserError(f"benchmark {manifest.name!r} has no training image of a seen class; choose other seen classes")
    return {"train": train, "test": test}


def training_rows(manifest: Manifest, spec: RunSpec) -> torch.Tensor:
    """The row numbers that a run trains on, at most `spec.images_per_class` of each class, 0 being all.

    Those of a smaller number are among those of a larger one. Raises UserError as `split_parts`.
    """
    split = manifest.class_split(spec.seed, spec.seen)
    rows = split_parts(manifest, spec, split)["train"]
    if spec.tuned_on != "all":
        rows = rows[split.is_seen(manifest.labels[rows])]
    return _few_of_each(rows, manifest, spec) if spec.images_per_class else rows


def _few_of_each(rows: torch.Tensor, manifest: Manifest, spec: RunSpec) -> torch.Tensor:
    """At most `spec.images_per_class` of the rows of each class, ascending: the first in an order drawn by the seed."""
    kept = []
    for label, name in enumerate(manifest.class_names):
        own = rows[manifest.labels[rows] == label]
        generator = generator_for("images per class", manifest.name, spec.seed, name)
        kept.append(own[torch.randperm(len(own), generator=generator)[: spec.images_per_class]])
    return torch.cat(kept).sort().values


def _drawn(groups: Sequence[str], seed: int) -> list[str]:
    """A fifth of the groups, drawn by a named seed: at least one, but never the only one."""
    order = sorted(groups, key=lambda group: seed_for("validation", seed, group))
    return order[: min(max(1, len(order) // 5), len(order) - 1)]
