"""The verb `calibrate` on files: from a fine-tuned checkpoint to a calibrated one, a report and a page."""

import argparse

from ..core import paths
from ..core.errors import UserError
from .calibrate import choose_method
from .fold_recipe import FoldRecipe
from .inputs import from_images, from_logits
from .options import check_kinds, given_recipe, is_logits, output_paths, written_suffix
from .results import describe_inputs, produce

INPUTS = ("checkpoint", "pretrained", "data", "test", "unlabelled", "held_out", "classes")


def calibrate_files(arguments: argparse.Namespace) -> None:
    """Calibrate as the parsed arguments say, and write the results. Raises UserError before anything is written."""
    recipe = _fold_recipe(arguments)
    method = choose_method(
        arguments.method, arguments.pretrained, arguments.absent_share, arguments.unlabelled, arguments.held_out, recipe
    )
    ready = is_logits(arguments.data)
    _check_model(arguments, ready)
    check_kinds(arguments, ("test", "unlabelled", "held_out"))
    outputs = output_paths(arguments, ".json" if ready else written_suffix(arguments), INPUTS)
    inputs = from_logits(arguments) if ready else from_images(arguments, recipe)
    produce(arguments, inputs, describe_inputs(arguments, inputs), method, outputs, recipe, folding=True)


def _fold_recipe(arguments: argparse.Namespace) -> FoldRecipe | None:
    """The recipe of the folds, or None without --folds. Raises UserError for options that do not fit together."""
    given = given_recipe(arguments)
    if not arguments.folds:
        if given:
            option = "no_augmentation" if arguments.no_augmentation else next(iter(given))
            raise UserError(f"--{option.replace('_', '-')} says how folds are trained; add --folds, or leave it out")
        return None
    if is_logits(arguments.data):
        raise UserError("--folds fine-tunes a model on images; give images, or leave out --folds with ready logits")
    for name in ("epochs", "lr"):
        if name not in given:
            raise UserError(f"--{name} is missing; --folds repeats your fine-tuning and takes its --epochs and --lr")
    return FoldRecipe(batch_size=arguments.batch_size, **given)


def _check_model(arguments: argparse.Namespace, ready: bool) -> None:
    """Raise UserError for ready logits with a model, and for images without one."""
    lacking = [name for name in ("model", "checkpoint") if not getattr(arguments, name)]
    if lacking == ["model"] and arguments.checkpoint.is_dir():  # a folder states its architecture
        lacking = []
    if ready and len(lacking) < 2:
        raise UserError(
            f"{paths.display(arguments.data)} holds ready logits, so no model is run; leave out --model and "
            "--checkpoint, or give images"
        )
    if not ready and lacking:
        raise UserError(f"--{lacking[0]} is missing; images need --model and --checkpoint, ready logits neither")
