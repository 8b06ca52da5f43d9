"""What the options that the verbs share mean: kinds of files, the recipe, and the files to write."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..core import external_files, paths
from ..core.errors import UserError

RECIPE = ("epochs", "lr", "optimizer", "momentum", "weight_decay", "backbone_lr_scale")


def is_logits(path: Path) -> bool:
    """Whether a source is a file of stored logits, by its name."""
    return path.suffix.lower() in external_files.ARRAYS and not path.is_dir()


def check_kinds(arguments: argparse.Namespace, names: Sequence[str]) -> None:
    """Raise UserError if --data and the sources of these names are not all images, or all ready logits."""
    for name in names:
        path = getattr(arguments, name)
        if path and is_logits(path) != is_logits(arguments.data):
            raise UserError(
                f"--data and --{name.replace('_', '-')} are of different kinds; give images for both, or ready logits "
                "for both"
            )


def given_recipe(arguments: argparse.Namespace) -> dict:
    """The fields of a `FoldRecipe` that the arguments give."""
    given = {name: getattr(arguments, name) for name in RECIPE if getattr(arguments, name) is not None}
    if arguments.no_augmentation:
        given |= {"crop_scale": None, "flip": False}
    return given


def output_paths(arguments: argparse.Namespace, suffix: str, inputs: Sequence[str]) -> dict[str, Path]:
    """The path of each result: report, page and, if --output ends in `.safetensors`, the checkpoint.

    suffix : that --output must have. inputs : names of the arguments that are paths of inputs. Raises UserError for
    paths that cannot be written, or that are inputs too.
    """
    if arguments.output.suffix != suffix:
        raise UserError(f"--output is {paths.display(arguments.output)}; its name must end in {suffix} here")
    outputs = {"checkpoint": arguments.output} if suffix == ".safetensors" else {}
    outputs["report"] = arguments.output.with_suffix(".json")
    outputs["page"] = arguments.output.with_suffix(".html")
    given = {path.resolve() for path in (getattr(arguments, name) for name in inputs) if path}
    for path in outputs.values():
        if path.resolve() in given:
            raise UserError(f"{paths.display(path)} is an input too; choose another --output")
        _check_place(path)
    return outputs


def _check_place(path: Path) -> None:
    """Raise UserError if `path` is a folder, or lies below something that is not a folder."""
    if path.is_dir():
        blocked, what = path, "a folder"
    else:
        files_above = [above for above in path.parents if above.exists() and not above.is_dir()]
        if not files_above:
            return
        blocked, what = files_above[0], "no folder"
    raise UserError(f"cannot write {paths.display(path)}: {paths.display(blocked)} is {what}; choose another --output")
