"""Options that several verbs on users' models share, for argparse."""

import argparse
from pathlib import Path


def add_model(verb: argparse.ArgumentParser, required: bool, checkpoint: str) -> None:
    """Add --model, --checkpoint and --classes. checkpoint : what its help calls the weights."""
    verb.add_argument(
        "--model",
        metavar="ARCH",
        help="the architecture of the checkpoint: timm's, such as resnet18, or torchvision/resnet18; a folder states "
        "its own",
    )
    verb.add_argument(
        "--checkpoint",
        required=required,
        type=Path,
        metavar="WEIGHTS",
        help=f"{checkpoint}: .safetensors or .pth with a state dict, a folder of transformers or of timm, or `timm` "
        "for what timm downloads",
    )
    verb.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="names of the outputs, one a line in head order; fewer than a head with known "
        "names keep those outputs only",
    )


def add_measures(verb: argparse.ArgumentParser) -> None:
    """Add --absent-share, --unlabelled and --test."""
    verb.add_argument(
        "--absent-share",
        type=float,
        metavar="SHARE",
        help="the fraction of absent-class samples expected in use (default: estimated with --unlabelled and "
        "held-out samples, else the share of absent classes)",
    )
    verb.add_argument(
        "--unlabelled",
        type=Path,
        metavar="SOURCE",
        help="images of all classes as they occur in use; their labels, if any, are ignored, and a folder needs no "
        "sub-folders; ready logits need no labels",
    )
    verb.add_argument(
        "--test",
        type=Path,
        metavar="SOURCE",
        help="labelled samples of all classes: they measure what happens and never choose gamma",
    )


def add_images(verb: argparse.ArgumentParser) -> None:
    """Add size, crop and scaling of images."""
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


def add_recipe(group: argparse._ArgumentGroup, epochs: int | None, lr: float | None) -> None:
    """Add the numbers of a fine-tuning, with the defaults of its length and learning rate or None."""
    stated = {name: f" (default: {value})" if value else "" for name, value in (("epochs", epochs), ("lr", lr))}
    group.add_argument(
        "--epochs", type=int, default=epochs, metavar="N", help=f"passes over the images{stated['epochs']}"
    )
    group.add_argument(
        "--lr", type=float, default=lr, metavar="RATE", help=f"learning rate; it falls to 0 as a cosine{stated['lr']}"
    )
    group.add_argument("--optimizer", metavar="NAME", help="any of timm's (default: sgd, with Nesterov's momentum)")
    group.add_argument("--momentum", type=float, metavar="SHARE", help="(default: 0.9)")
    group.add_argument("--weight-decay", type=float, metavar="RATE", help="(default: 1e-4)")
    group.add_argument(
        "--backbone-lr-scale",
        type=float,
        metavar="FACTOR",
        help="learning rate of all weights but the head's, as a multiple of --lr (default: 1)",
    )
    group.add_argument("--no-augmentation", action="store_true", help="without random crops and flips")


def add_running(verb: argparse.ArgumentParser) -> None:
    """Add --batch-size, --device and --dry-run."""
    verb.add_argument("--batch-size", type=int, default=32, help="images at once (default: %(default)s)")
    verb.add_argument("--device", default="", help="cpu, cuda or cuda:N (default: CUDA where there is one)")
    verb.add_argument(
        "--dry-run", action="store_true", help="check the inputs, say what would happen, and write nothing"
    )
