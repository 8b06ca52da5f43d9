"""`calibrate`: from a fine-tuned checkpoint to a calibrated one, a report and a page."""

import argparse
from pathlib import Path

from .options import add_images, add_measures, add_model, add_recipe, add_running


def add_verb(verbs) -> None:
    """Add the parser of `calibrate` to argparse's sub-parsers."""
    verb = verbs.add_parser(
        "calibrate",
        help="give a fine-tuned classifier its absent classes back: a plain checkpoint with gamma in its head",
        description="SOURCE is an image folder with a sub-folder for each class, a list file (`relative/path label` "
        "a line), a manifest (.json beside its .csv: --data takes its training images of the seen "
        "classes, --test its test images), or ready logits (.npz or .safetensors with arrays logits and "
        "labels; .csv with columns labels, logits_0, logits_1, ...). From images you get a checkpoint, a "
        ".json report and a .html page; from logits, the report and the page.",
    )
    verb.add_argument(
        "--seen",
        required=True,
        help="classes of the fine-tuning data: names or ids separated by commas, or a file with one a line",
    )
    verb.add_argument(
        "--data", required=True, type=Path, metavar="SOURCE", help="the fine-tuning data: seen classes only"
    )
    verb.add_argument(
        "--output",
        required=True,
        type=Path,
        metavar="FILE",
        help="what to write: .safetensors, a folder if the checkpoint is one, or .json with ready logits",
    )
    add_model(verb, required=False, checkpoint="the fine-tuned weights")
    verb.add_argument(
        "--pretrained",
        type=Path,
        metavar="FILE",
        help="the weights (or logits) before fine-tuning, with the same outputs",
    )
    verb.add_argument(
        "--method",
        default="auto",
        help="auto, the best for what is given (the default), or the name of an estimator; an unknown name is "
        "answered with the list",
    )
    add_measures(verb)
    verb.add_argument(
        "--held-out",
        type=Path,
        metavar="SOURCE",
        help="samples of seen classes that were not trained on: with --unlabelled they give an estimate of the absent "
        "share",
    )
    add_images(verb)
    folds = verb.add_argument_group(
        "folds",
        "With --folds the pre-trained model is fine-tuned three times without a third of the seen classes each, by "
        "your own recipe, at --batch-size. What is finished is kept in the project folder's runs/.",
    )
    folds.add_argument("--folds", action="store_true", help="train the folds; needs --pretrained, --epochs and --lr")
    add_recipe(folds, epochs=None, lr=None)
    add_running(verb)
    verb.set_defaults(act=act)


def act(arguments: argparse.Namespace) -> None:
    """Calibrate the files that the arguments name."""
    from ..deploy.files import calibrate_files

    calibrate_files(arguments)
