"""What the options that the verbs share mean: kinds of files, the recipe, and the files to write."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..core import external_files, paths
from ..core.errors import UserError

RECIPE = ("epochs", "lr", "optimizer", "momentum", "weight_decay", "backbone_lr_scale")


def is_logits(path: Path) -> bool:
    """Whether a source is a file of arrays by its name, so no images; those of other kinds are refused when read."""
    return path.suffix.lower() in (*external_files.ARRAYS, *external_files.WEIGHTS, ".npy") and not path.is_dir()


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


def written_suffix(arguments: argparse.Namespace) -> str:
    """What --output must end in for the checkpoint that is given: nothing for a folder, which is answered by one."""
    return "" if arguments.checkpoint.is_dir() else ".safetensors"


def output_paths(arguments: argparse.Namespace, suffix: str, inputs: Sequence[str]) -> dict[str, Path]:
    """The path of each result: report, page and, unless --output ends in `.json`, the checkpoint.

    suffix : that --output must have; empty for a folder. inputs : names of the arguments that are paths of inputs.
    Raises UserError for paths that cannot be written, or that are inputs too.
    """
    output = arguments.output
    if not output.name:
        raise UserError(f"--output is {str(output)!r}, which has no name of its own; name a file or folder to write")
    if suffix and output.suffix != suffix:
        raise UserError(f"--output is {paths.display(output)}; its name must end in {suffix} here")
    if not suffix and output.suffix in external_files.WEIGHTS:
        raise UserError(f"--output is {paths.display(output)}, and the checkpoint is a folder; name a folder to write")
    outputs = {} if suffix == ".json" else {"checkpoint": output}
    stem = output.name.removesuffix(suffix)
    outputs["report"] = output.with_name(f"{stem}.json")
    outputs["page"] = output.with_name(f"{stem}.html")
    given = {path.resolve() for path in (getattr(arguments, name) for name in inputs) if path}
    for name, path in outputs.items():
        if path.resolve() in given:
            raise UserError(f"{paths.display(path)} is an input too; choose another --output")
        _check_place(path / "config.json" if name == "checkpoint" and not suffix else path)
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
