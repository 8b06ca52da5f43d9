"""The verb `finetune` on files: from a pre-trained checkpoint and images to a fine-tuned one with gamma in its head."""

import argparse
import copy
from dataclasses import asdict, replace

import torch
from torch import nn

from ..core import files, paths
from ..core.device import pick_device
from ..core.errors import UserError
from ..core.progress import log
from ..methods import METHODS, read_options
from .calibrate import choose_method
from .fold_recipe import FoldRecipe
from .folds import check_classes, train_folds
from .images import Images, Measured, check_numbers, open_images
from .inputs import Inputs
from .networks import open_cut
from .options import check_kinds, given_recipe, is_logits, output_paths, written_suffix
from .results import describe_inputs, describe_training, produce
from .training import ImageFiles, check_method, digest_data, digest_weights, draw_held_out, fine_tuned

INPUTS = ("checkpoint", "data", "test", "unlabelled", "classes")


def finetune_files(arguments: argparse.Namespace) -> None:
    """Fine-tune and calibrate as the parsed arguments say, and write the results.

    Raises UserError before anything is written to --output. The training itself is kept in the project's `runs/`.
    """
    if is_logits(arguments.data):
        raise UserError(
            f"{paths.display(arguments.data)} holds ready logits, and finetune trains on images; give an image folder, "
            "a list file or a manifest"
        )
    check_kinds(arguments, ("test", "unlabelled"))
    check_numbers(arguments)
    if not 0 <= arguments.hold_out < 1:
        raise UserError(f"--hold-out is {arguments.hold_out}; give a fraction from 0 to below 1")
    options = read_options(arguments.method, arguments.option)
    recipe = FoldRecipe(
        batch_size=arguments.batch_size, method=arguments.method, options=options, **given_recipe(arguments)
    )
    outputs = output_paths(arguments, written_suffix(arguments), INPUTS)
    device = pick_device(arguments.device)
    network = open_cut(arguments, arguments.checkpoint)
    pretrained = network.model.to(device)
    images = _hold_out(open_images(arguments, network), arguments.hold_out)
    folds = recipe if arguments.folds else None
    estimator = choose_method(
        arguments.calibration,
        pretrained,
        arguments.absent_share,
        arguments.unlabelled,
        images.held_out if arguments.unlabelled else None,
        folds,
    )
    _check_trained(images, arguments)
    if folds:
        check_classes(images.own.labels, images.split)
    check_method(pretrained, images.own.labels, images.looks["input_size"], recipe)

    held_out = 0 if images.held_out is None else len(images.held_out.labels)
    training = {"recipe": asdict(recipe), "seed": arguments.seed, "title": METHODS[recipe.method].title}
    about = images.about(arguments, network, device) | {"fine_tuning": training}
    inputs = Inputs(
        images.split,
        images.names,
        network,
        about,
        lambda: _train_and_measure(pretrained, images, recipe, folds, arguments.seed),
    )
    plan = f"{describe_inputs(arguments, inputs)}; {held_out} more held out; {training['title']}"
    plan += f", {describe_training(recipe)}"
    produce(arguments, inputs, plan, estimator, outputs, folds, folding=not arguments.no_calibrate)


def _hold_out(images: Images, share: float) -> Images:
    """The images with a share of the fine-tuning data as held-out samples, if there are any."""
    if not share:
        return images
    held_out = draw_held_out(images.own.labels, share, "finetune")
    if not held_out.any():
        return images
    return replace(images, own=images.own.where(~held_out), held_out=images.own.where(held_out))


def _check_trained(images: Images, arguments: argparse.Namespace) -> None:
    """Raise UserError for a seen class without an image to train on: it would be neither seen nor absent."""
    lacking = sorted(set(images.split.seen) - set(images.own.labels.tolist()))
    if lacking:
        name = images.names[lacking[0]] if images.names else lacking[0]
        raise UserError(
            f"the seen class {name} has no image in {paths.display(arguments.data)}; add images of it, or leave it out "
            "of --seen"
        )


def _train_and_measure(
    pretrained: nn.Module, images: Images, recipe: FoldRecipe, folds: FoldRecipe | None, seed: int
) -> Measured:
    """The results of the fine-tuned model, with those of the pre-trained one beside them.

    The pre-trained model goes first: it finds images that cannot be read before hours are spent.
    """
    before = images.measure(pretrained)
    after = images.measure(_trained(pretrained, images, recipe, seed))
    own = ImageFiles(images.own.files, images.transform)
    return replace(
        after,
        pretrained_logits=before.logits,
        test_pretrained_logits=before.test_logits,
        held_out_pretrained_logits=before.held_out_logits,
        folds=train_folds(pretrained, own, before.labels, images.split, before.logits, folds) if folds else None,
    )


def _trained(pretrained: nn.Module, images: Images, recipe: FoldRecipe, seed: int) -> nn.Module:
    """A fine-tuned copy of the pre-trained model, read from the project's `runs/` if it has been trained before.

    The run's name stands for the weights, the images that are trained on, the recipe, the seed and the kind of device.
    An interrupted training goes on from its last epoch.
    """
    own, labels = ImageFiles(images.own.files, images.transform), images.own.labels
    rows = torch.arange(len(labels))
    data = digest_data(own, labels, rows, pretrained, recipe)
    spec = recipe.spec("finetune", "finetune", type(pretrained).__name__, digest_weights(pretrained), data, seed)
    state = files.cached(
        paths.run_model(spec.run_id), lambda: fine_tuned(pretrained, own, labels, rows, spec, recipe).state_dict()
    )
    paths.run_checkpoint(spec.run_id).unlink(missing_ok=True)
    log(f"the training is kept in {paths.display(paths.run(spec.run_id))}; delete it when you are done")
    model = copy.deepcopy(pretrained)
    model.load_state_dict(state)
    return model
