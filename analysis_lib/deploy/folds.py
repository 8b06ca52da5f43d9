"""Folds of cross-validation over classes, made by repeating a user's fine-tuning without a third of the seen classes.

The pre-trained model is fine-tuned three times, each time with another third left out. Only fine-tuning data is used.
"""

import functools
from collections.abc import Sequence
from dataclasses import asdict

import torch
from torch import nn

from ..analysis.gamma.estimators.pseudo_cv import Fold
from ..analysis.metrics.accuracy import accuracies
from ..core import files, paths
from ..core.class_split import ClassSplit
from ..core.errors import UserError
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for
from ..models.gamma_bias import logits_of, placed
from .fold_recipe import FoldRecipe
from .training import ImageFiles, digest_data, digest_weights, draw_held_out, fine_tuned

FOLDS, FIFTH = 3, 0.2  # FIFTH: the share of images that is held out


def check_classes(labels: torch.Tensor, split: ClassSplit) -> None:
    """Raise UserError for fewer than three seen classes, and for a seen class without an image among `labels` (N,)."""
    if len(split.seen) < FOLDS:
        raise UserError(
            f"there are {len(split.seen)} seen classes, and folds leave out a third of at least {FOLDS}; name more "
            "seen classes, or do without folds"
        )
    lacking = sorted(set(split.seen) - set(labels.tolist()))
    if lacking:
        raise UserError(
            f"the seen class {lacking[0]} has no image in the fine-tuning data, and every seen class is left out of a "
            "fold once; add images of it, or do without folds"
        )


def train_folds(
    pretrained: nn.Module,
    images: torch.Tensor | ImageFiles,
    labels: torch.Tensor,
    split: ClassSplit,
    pretrained_logits: torch.Tensor,
    recipe: FoldRecipe,
) -> list[Fold]:
    """Fine-tune copies of the pre-trained model without one third of the seen classes each, and measure all images.

    images (N, ...), labels (N,), pretrained_logits (N, C) : the fine-tuning data, without augmentation, as the model
    takes it. The recipe names the method, by default all weights on the cross-entropy over all C classes. A fifth of
    the images of every class is held out, at least one and never the only one. One copy is in memory at a time;
    `pretrained` itself does not change.

    An interrupted training goes on from its last epoch, and a finished fold is read, from the project folder's `runs/`,
    under a name that stands for the weights, the data, the recipe and the device. Raises UserError as `check_classes`,
    for a loss that is not finite, and where the device has not enough memory. Source: ours.
    """
    check_classes(labels, split)
    columns = list(split.seen)
    position = torch.full((split.num_classes,), -1)
    position[columns] = torch.arange(len(columns))
    held_out = draw_held_out(labels, FIFTH, "calibrate")
    weights = digest_weights(pretrained)
    data = digest_data(images, labels, torch.arange(len(labels)), pretrained, recipe)
    folds = []
    for number, left_out in enumerate(_draw_thirds(split)):
        own = ClassSplit(len(columns), [int(position[c]) for c in columns if c not in left_out])
        spec = recipe.spec("calibrate", "fold", type(pretrained).__name__, weights, data, seed=number)
        rows = (own.is_seen(position[labels]) & ~held_out).nonzero().flatten()
        make = functools.partial(_logits_after, pretrained, images, labels, rows, spec, recipe)
        logits = files.cached(paths.run_fold(spec.run_id), make)["logits"]
        paths.run_checkpoint(spec.run_id).unlink(missing_ok=True)
        folds.append(
            Fold(
                logits[:, columns],
                pretrained_logits[:, columns],
                position[labels],
                own,
                held_out,
                clusters=torch.arange(len(labels)),
            )
        )
    return folds


def _logits_after(
    pretrained: nn.Module,
    images: torch.Tensor | ImageFiles,
    labels: torch.Tensor,
    rows: torch.Tensor,
    spec: RunSpec,
    recipe: FoldRecipe,
) -> dict[str, torch.Tensor]:
    """`logits` (N, C) of all images after a copy of the pre-trained model was fine-tuned on some rows, on the CPU."""
    network = fine_tuned(pretrained, images, labels, rows, spec, recipe)
    batches = torch.arange(len(labels)).split(spec.batch_size)
    parts = [logits_of(network, placed(images[batch], network)).cpu() for batch in batches]
    return {"logits": torch.cat(parts).float()}


def _draw_thirds(split: ClassSplit) -> list[list[int]]:
    """The seen classes in three random parts that differ by one class at most."""
    order = torch.randperm(len(split.seen), generator=generator_for("class folds", "calibrate"))
    return [[split.seen[i] for i in part.tolist()] for part in order.tensor_split(FOLDS)]


def describe_folds(folds: Sequence[Fold], split: ClassSplit, recipe: FoldRecipe) -> dict:
    """What the report says about the folds: the recipe, and of each fold its classes, images and accuracies.

    `held_out` has the five accuracies among the seen classes on held-out images; the classes left out play the absent
    ones.
    """
    rows = []
    for fold in folds:
        tested = fold.where(fold.held_out)
        rows.append(
            {
                "left_out": sorted(split.seen[i] for i in fold.split.absent),
                "trained_images": int(fold.trained.sum()),
                "held_out_images": int(fold.held_out.sum()),
                "held_out": accuracies(tested.logits, tested.labels, fold.split),
            }
        )
    return {"recipe": asdict(recipe), "folds": rows}
