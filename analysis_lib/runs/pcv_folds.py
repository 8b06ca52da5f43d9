"""The extra runs of pseudo cross-validation (PCV), and the folds that estimators get from them."""

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
    """The extra runs of pseudo cross-validation: the same recipe on random halves of the seen classes.

    A fifth of each class's groups is held out. The pre-trained and the final Outputs are stored.
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
    """The folds of pseudo cross-validation of a run.

    The rows of a fold are the held-out images of the classes that it trained on, and all training images of the
    pseudo-absent classes. Rows and columns of the run's absent classes are dropped before anything is computed. Raises
    UserError for a fold run that is not finished.
    """
    split = runs.split(spec)
    columns = list(split.seen)
    position = torch.full((split.num_classes,), -1)
    position[columns] = torch.arange(len(columns))
    folds = []
    for fold in fold_specs(spec):
        own = runs.split(fold)
        logits, pretrained, labels = [], [], []
        for part in ("train", "test"):  # of a validation run: trained on, and held out
            before, after = runs.outputs(fold, 0, part), runs.outputs(fold, fold.epochs, part)
            rows = split.is_seen(after.labels) & ~own.is_seen(after.labels)
            if part == "test":
                rows |= own.is_seen(after.labels)
            logits.append(after.logits[rows][:, columns])
            pretrained.append(before.logits[rows][:, columns])
            labels.append(after.labels[rows])
        pseudo = ClassSplit(len(columns), position[list(own.seen)].tolist())
        folds.append(Fold(torch.cat(logits), torch.cat(pretrained), position[torch.cat(labels)], pseudo))
    return folds
