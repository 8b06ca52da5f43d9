"""The extra runs of pseudo cross-validation (PCV), and the folds that estimators get from them."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch

from ..analysis.gamma.estimators.pseudo_cv import Fold
from ..benchmarks.manifest import Manifest, load_manifest
from ..core.class_split import ClassSplit
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for
from .execute import split_parts
from .run_set import RunSet

FOLDS = 3  # of pseudo cross-validation, as in the paper


def fold_specs(spec: RunSpec) -> list[RunSpec]:
    """The extra runs of pseudo cross-validation: the same recipe on different random halves of the seen classes.

    A fifth of each class's clusters is held out. A fold has fewer images, so it gets more epochs: as many gradient
    steps as the run, up to half an epoch. The pre-trained and the final Outputs are stored. There are fewer folds than
    `FOLDS` if there are fewer different halves.
    """
    manifest = load_manifest(spec.benchmark)
    seen = manifest.class_split(spec.seed, spec.seen).seen
    half = len(seen) // 2
    wanted = min(FOLDS, math.comb(len(seen), half)) if half else 0
    halves: dict[tuple[str, ...], None] = {}  # an ordered set
    draw = 0
    while len(halves) < wanted:
        order = torch.randperm(len(seen), generator=generator_for("pcv", manifest.name, spec.seed, draw))
        halves[tuple(manifest.class_names[seen[i]] for i in sorted(order[:half].tolist()))] = None
        draw += 1
    specs = []
    for names in halves:
        fold = replace(spec, seen=names, validation=True)
        epochs = max(1, round(spec.epochs * _steps(manifest, spec) / _steps(manifest, fold)))
        specs.append(replace(fold, epochs=epochs, record_every=epochs))
    return specs


def _steps(manifest: Manifest, spec: RunSpec) -> int:
    """The gradient steps of one epoch of a run."""
    split = manifest.class_split(spec.seed, spec.seen)
    train = split_parts(manifest, spec, split)["train"]
    return math.ceil(int(split.is_seen(manifest.labels[train]).sum()) / spec.batch_size)


def with_folds(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """Every run, followed by its folds."""
    return [each for spec in specs for each in (spec, *fold_specs(spec))]


def folds_of(runs: RunSet, spec: RunSpec) -> list[Fold]:
    """The folds of pseudo cross-validation of a run.

    Rows and columns of the run's absent classes are dropped before anything is computed. Raises UserError for a fold
    run that is not finished.
    """
    split = runs.split(spec)
    columns = list(split.seen)
    position = torch.full((split.num_classes,), -1)
    position[columns] = torch.arange(len(columns))
    folds = []
    for fold in fold_specs(spec):
        logits, pretrained, labels, index, held_out = [], [], [], [], []
        for part in ("train", "test"):  # of a validation run: trained on, and held out
            before, after = runs.outputs(fold, 0, part), runs.outputs(fold, fold.epochs, part)
            rows = split.is_seen(after.labels)
            logits.append(after.logits[rows][:, columns])
            pretrained.append(before.logits[rows][:, columns])
            labels.append(after.labels[rows])
            index.append(after.index[rows])
            held_out.append(torch.full((int(rows.sum()),), part == "test"))
        groups = runs.manifest.body["group"].iloc[torch.cat(index).numpy()]
        folds.append(
            Fold(
                torch.cat(logits),
                torch.cat(pretrained),
                position[torch.cat(labels)],
                ClassSplit(len(columns), position[list(runs.split(fold).seen)].tolist()),
                torch.cat(held_out),
                torch.tensor(pd.factorize(groups)[0]),
            )
        )
    return folds
