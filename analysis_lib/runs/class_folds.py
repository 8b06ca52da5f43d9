"""The extra runs of cross-validation over classes, and the folds that estimators get from them.

A fold fine-tunes on some of the seen classes; the others are pseudo-absent. *Halves* are the folds of the paper's
pseudo cross-validation (PCV); *thirds* leave out every seen class once.
"""

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
from .rows import training_rows
from .run_set import RunSet

FOLDS = 3  # of each kind; for pseudo cross-validation as in the paper


def half_specs(spec: RunSpec) -> list[RunSpec]:
    """The folds of pseudo cross-validation: the same recipe on different random halves of the seen classes.

    A fifth of each class's clusters is held out. A fold has fewer images, so it gets more epochs: as many gradient
    steps as the run, up to half an epoch. The pre-trained and the final Outputs are stored. There are fewer folds than
    `FOLDS` if there are fewer different halves. Source: paper section 6.
    """
    manifest, seen = load_manifest(spec.benchmark), _seen(spec)
    half = len(seen) // 2
    wanted = min(FOLDS, math.comb(len(seen), half)) if half else 0
    halves: dict[tuple[int, ...], None] = {}  # an ordered set
    draw = 0
    while len(halves) < wanted:
        order = torch.randperm(len(seen), generator=generator_for("pcv", manifest.name, spec.seed, draw))
        halves[tuple(sorted(order[:half].tolist()))] = None
        draw += 1
    specs = []
    for chosen in halves:
        fold = _fold(spec, [seen[i] for i in chosen])
        epochs = max(1, round(spec.epochs * _steps(manifest, spec) / _steps(manifest, fold)))
        specs.append(replace(fold, epochs=epochs, record_every=epochs))
    return specs


def third_specs(spec: RunSpec) -> list[RunSpec]:
    """The folds of cross-validation over classes: the same recipe without one third of the seen classes, each in turn.

    Every seen class is pseudo-absent once. A fifth of each class's clusters is held out. The pre-trained and the final
    Outputs are stored. No fold if there are fewer seen classes than folds. Source: ours.
    """
    seen = _seen(spec)
    if len(seen) < FOLDS:
        return []
    order = torch.randperm(len(seen), generator=generator_for("class folds", spec.benchmark, spec.seed))
    left_out = [part.tolist() for part in order.tensor_split(FOLDS)]
    return [_fold(spec, [c for i, c in enumerate(seen) if i not in part]) for part in left_out]


def _seen(spec: RunSpec) -> tuple[int, ...]:
    return load_manifest(spec.benchmark).class_split(spec.seed, spec.seen).seen


def _fold(spec: RunSpec, seen: Sequence[int]) -> RunSpec:
    names = load_manifest(spec.benchmark).class_names
    return replace(spec, seen=tuple(names[c] for c in seen), validation=True, record_every=spec.epochs)


def _steps(manifest: Manifest, spec: RunSpec) -> int:
    """The gradient steps of one epoch of a run."""
    return math.ceil(len(training_rows(manifest, spec)) / spec.batch_size)


def folds_of(runs: RunSet, spec: RunSpec, fold_specs: Sequence[RunSpec]) -> list[Fold]:
    """The finished folds of a run, for estimators.

    Rows and columns of the run's absent classes are dropped before anything is computed. Raises UserError for a fold
    that is not finished.
    """
    split = runs.split(spec)
    columns = list(split.seen)
    position = torch.full((split.num_classes,), -1)
    position[columns] = torch.arange(len(columns))
    folds = []
    for fold in fold_specs:
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
