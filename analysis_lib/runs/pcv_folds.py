"""The extra runs of pseudo cross-validation and what the estimators may see of them."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..analysis.gamma.estimators.pseudo_cv import Fold
from ..benchmarks.manifest import load_manifest
from ..core.class_split import ClassSplit
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for
from .run_set import RunSet

FOLDS = 3  # of pseudo cross-validation, as in the paper


def fold_specs(spec: RunSpec) -> list[RunSpec]:
    """The extra runs of pseudo cross-validation: the same recipe on a random half of the seen classes.

    A fifth of each class's groups is held out, and the pre-trained and the final Outputs are kept.
    """
    manifest = load_manifest(spec.benchmark)
    seen = manifest.class_split(spec.seed, spec.seen).seen
    specs = []
    for fold in range(FOLDS):
        order = torch.randperm(len(seen), generator=generator_for("pcv", manifest.name, spec.seed, fold))
        names = tuple(manifest.class_names[seen[i]] for i in sorted(order[: len(seen) // 2].tolist()))
        specs.append(replace(spec, seen=names, validation=True, record_every=spec.epochs))
    return specs


def with_folds(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """Every run, followed by its folds."""
    return [each for spec in specs for each in (spec, *fold_specs(spec))]


def folds_of(runs: RunSet, spec: RunSpec) -> list[Fold]:
    """The folds of pseudo cross-validation of a run: held-out images of what each trained on, all of what it did not.

    Rows and columns of the run's absent classes are dropped before anything is computed. Raises UserError for a fold run
    that is not finished.
    """
    split, columns = runs.split(spec), list(runs.split(spec).seen)
    position = torch.full((split.num_classes,), -1)
    position[columns] = torch.arange(len(columns))
    folds = []
    for fold in fold_specs(spec):
        own = runs.split(fold)
        pseudo = ClassSplit(len(columns), position[list(own.seen)].tolist())
        before, after = ([runs.outputs(fold, epoch, part) for part in ("train", "test")] for epoch in (0, fold.epochs))
        rows = [split.is_seen(part.labels) & ~own.is_seen(part.labels) for part in after]
        rows[1] |= own.is_seen(after[1].labels)
        logits, pretrained = (torch.cat([part.logits[keep][:, columns] for part, keep in zip(parts, rows)]) for parts in (after, before))
        folds.append(Fold(logits, pretrained, position[torch.cat([part.labels[keep] for part, keep in zip(after, rows)])], pseudo))
    return folds
