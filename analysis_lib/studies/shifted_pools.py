"""Pools of unlabelled test images with a given share of absent samples, and held-out seen images beside them.

The estimate of the absent share needs seen images that were not trained on: half of the clusters of seen test images,
drawn by a named seed. Only that they are of seen classes is used, and they do not enter the pool.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from ..analysis.gamma.estimators import Evidence
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for
from ..runs.run_set import RunSet
from . import calibration


@dataclass(frozen=True)
class Pool:
    """Unlabelled test images of one run, of which a share is absent, and held-out images of seen classes.

    cell : the setting, such as `lr 0.02, 4 epochs`.
    evidence : what estimators of gamma may use, with the logits of the pool.
    held_out (M, C) : logits of seen test images that are not in the pool.
    """

    cell: str
    runs: RunSet
    spec: RunSpec
    absent_share: float
    evidence: Evidence
    held_out: torch.Tensor


def pools(cells: dict[tuple[float, int], RunSet], absent_shares: Sequence[float]) -> Iterator[Pool]:
    """A pool of every share for every run."""
    for (lr, epochs), runs in cells.items():
        for spec in runs.specs:
            found = calibration.evidence(runs, spec)
            test = runs.outputs(spec, spec.epochs, "test")
            held_out = held_out_rows(runs, spec)
            for absent_share in absent_shares:
                rows = pool_rows(runs, spec, absent_share, ~held_out)
                yield Pool(
                    cell_name(lr, epochs),
                    runs,
                    spec,
                    absent_share,
                    replace(found, target_logits=test.logits[rows], target_labels=None),
                    test.logits[held_out],
                )


def held_out_rows(runs: RunSet, spec: RunSpec) -> torch.Tensor:
    """Seen test images of half of their clusters, drawn by a named seed: a bool mask (N,) over the test images."""
    test = runs.outputs(spec, spec.epochs, "test")
    seen, clusters = runs.split(spec).is_seen(test.labels), runs.clusters(test)
    names = clusters[seen].unique()
    order = torch.randperm(len(names), generator=generator_for("held-out seen", runs.benchmark, spec.seed))
    return seen & torch.isin(clusters, names[order[: len(names) // 2]])


def pool_rows(runs: RunSet, spec: RunSpec, absent_share: float, allowed: torch.Tensor) -> torch.Tensor:
    """Rows of test images of which the given share is absent: all of one group, and as many of the other as fit.

    allowed (N,) : bool, the test images that may be drawn.
    """
    test = runs.outputs(spec, spec.epochs, "test")
    seen = runs.split(spec).is_seen(test.labels)
    order = torch.randperm(len(seen), generator=generator_for("pool", runs.benchmark, spec.seed))
    order = order[allowed[order]]
    absent_rows, seen_rows = order[~seen[order]], order[seen[order]]
    size = min(len(absent_rows) / absent_share, len(seen_rows) / (1 - absent_share))
    n_absent, n_seen = round(size * absent_share), round(size * (1 - absent_share))
    return torch.cat([absent_rows[:n_absent], seen_rows[:n_seen]])


def cell_name(lr: float, epochs: int) -> str:
    """The name of a setting, such as `lr 0.02, 4 epochs`."""
    return f"lr {lr:g}, {epochs} epochs"
