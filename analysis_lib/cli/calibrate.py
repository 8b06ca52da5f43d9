"""`calibrate`: from a fine-tuned checkpoint to a calibrated one, a report and a page."""

import argparse
from pathlib import Path


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
        help="what to write: .safetensors, or .json with ready logits",
    )
    verb.add_argument("--model", metavar="ARCH", help="the timm architecture of the checkpoint, such as resnet18")
    verb.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="the fine-tuned weights: .safetensors or .pth with a state dict"
    )
    verb.add_argument(
        "--pretrained",
        type=Path,
        metavar="FILE",
        help="the weights (or logits) before fine-tuning, with the same outputs",
    )
    verb.add_argument("--classes", type=Path, metavar="FILE", help="names of the outputs, one a line in head order")
    verb.add_argument(
        "--method",
        default="auto",
        help="auto, the best for what is given (the default), or the name of an estimator; an unknown name is "
        "answered with the list",
    )
    verb.add_argument(
        "--absent-share",
        type=float,
        metavar="SHARE",
        help="the fraction of absent-class samples expected in use (default: estimated with --unlabelled and "
        "--held-out, else the share of absent classes)",
    )
    verb.add_argument(
        "--unlabelled",
        type=Path,
        metavar="SOURCE",
        help="images of all classes as they occur in use; their labels, if any, are ignored, and a folder needs no "
        "sub-folders; ready logits need no labels",
    )
    verb.add_argument(
        "--held-out",
        type=Path,
        metavar="SOURCE",
        help="samples of seen classes that were not trained on: with --unlabelled they give an estimate of the absent "
        "share",
    )
    verb.add_argument(
        "--test",
        type=Path,
        metavar="SOURCE",
        help="labelled samples of all classes: they measure what gamma does and never choose it",
    )
    verb.add_argument("--image-size", type=int, metavar="N", help="pixels (default: what timm states for ARCH)")
    verb.add_argument(
        "--crop-pct",
        type=float,
        metavar="SHARE",
        help="centre crop after resizing (default: what timm states for ARCH)",
    )
    verb.add_argument(
        "--mean",
        type=float,
        nargs=3,
        metavar=("R", "G", "B"),
        help="subtracted from pixels in [0, 1] (default: timm's)",
    )
    verb.add_argument(
        "--std", type=float, nargs=3, metavar=("R", "G", "B"), help="divides pixels after that (default: timm's)"
    )
    folds = verb.add_argument_group(
        "folds",
        "With --folds the pre-trained model is fine-tuned three times without a third of the seen classes each, by "
        "your own recipe, at --batch-size. What is finished is kept in the project folder's runs/.",
    )
    folds.add_argument("--folds", action="store_true", help="train the folds; needs --pretrained, --epochs and --lr")
    folds.add_argument("--epochs", type=int, metavar="N", help="of your fine-tuning")
    folds.add_argument("--lr", type=float, metavar="RATE", help="of your fine-tuning; it falls to 0 as a cosine")
    folds.add_argument("--optimizer", metavar="NAME", help="any of timm's (default: sgd, with Nesterov's momentum)")
    folds.add_argument("--momentum", type=float, metavar="SHARE", help="(default: 0.9)")
    folds.add_argument("--weight-decay", type=float, metavar="RATE", help="(default: 1e-4)")
    folds.add_argument("--no-augmentation", action="store_true", help="without random crops and flips")
    verb.add_argument("--batch-size", type=int, default=32, help="images at once (default: %(default)s)")
    verb.add_argument("--device", default="", help="cpu, cuda or cuda:N (default: CUDA where there is one)")
    verb.add_argument(
        "--dry-run", action="store_true", help="check the inputs, say what would happen, and write nothing"
    )
    verb.set_defaults(act=act)


def act(arguments: argparse.Namespace) -> None:
    """Calibrate the files that the arguments name."""
    from ..deploy.files import calibrate_files

    calibrate_files(arguments)
