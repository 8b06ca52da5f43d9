"""`finetune`: from a pre-trained checkpoint and images of some classes to a fine-tuned one that keeps the others."""

import argparse
from pathlib import Path

from .options import add_images, add_measures, add_model, add_recipe, add_running


class ListMethods(argparse.Action):
    """An option that prints the fine-tuning methods and ends the program, as --help does."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Print one line a method."""
        from ..methods import describe_methods

        print("\n".join(describe_methods()))
        parser.exit()


def add_verb(verbs) -> None:
    """Add the parser of `finetune` to argparse's sub-parsers."""
    verb = verbs.add_parser(
        "finetune",
        help="fine-tune a classifier on images of some of its classes, and keep the others: a plain checkpoint with "
        "gamma in its head; continues what was interrupted",
        description="SOURCE is an image folder with a sub-folder for each class, a list file (`relative/path label` "
        "a line), or a manifest (.json beside its .csv: --data takes its training images of the seen classes, --test "
        "its test images). You get a checkpoint that plain timm loads, a .json report and a .html page. The training "
        "is kept in the project folder's runs/: interrupted, the same command goes on from the last epoch.",
    )
    add_model(verb, required=True, checkpoint="the pre-trained weights, with a head over all classes")
    verb.add_argument("--data", required=True, type=Path, metavar="SOURCE", help="images of the seen classes")
    verb.add_argument(
        "--output",
        required=True,
        type=Path,
        metavar="FILE",
        help="what to write: .safetensors, or a folder if the checkpoint is one",
    )
    verb.add_argument(
        "--seen",
        help="classes to fine-tune on: names or ids separated by commas, or a file with one a line (default: those "
        "that occur in --data)",
    )
    verb.add_argument(
        "--hold-out",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="images of every seen class that are not trained on, as a fraction: they measure the seen classes; 0 "
        "trains on all (default: %(default)s)",
    )
    add_measures(verb)
    add_images(verb)
    training = verb.add_argument_group("training")
    training.add_argument(
        "--method",
        default="finetune",
        metavar="NAME",
        help="how to fine-tune (default: %(default)s, docs/methods.md says why)",
    )
    training.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the method; may be given several times",
    )
    training.add_argument(
        "--list-methods", action=ListMethods, nargs=0, help="print the methods with their options, and exit"
    )
    add_recipe(training, epochs=5, lr=5e-3)
    training.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of order, crops and flips (default: %(default)s)"
    )
    gamma = verb.add_argument_group("gamma")
    gamma.add_argument(
        "--calibration",
        default="auto",
        metavar="METHOD",
        help="auto, the best for what is given (the default), or the name of an estimator; an unknown name is "
        "answered with the list",
    )
    gamma.add_argument(
        "--folds",
        action="store_true",
        help="estimate gamma more closely: fine-tune three times more, without a third of the seen classes each",
    )
    gamma.add_argument(
        "--no-calibrate",
        action="store_true",
        help="leave gamma out of the checkpoint; the report still says what it does",
    )
    add_running(verb)
    verb.set_defaults(act=act)


def act(arguments: argparse.Namespace) -> None:
    """Fine-tune on the files that the arguments name."""
    from ..deploy.finetune import finetune_files

    finetune_files(arguments)
