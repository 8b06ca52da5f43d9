"""The verb `calibrate` on files: from a fine-tuned checkpoint to a calibrated one, a report and a page."""

import argparse
import contextlib
import json
import math
from pathlib import Path

from ..analysis.gamma.curve import seen_absent_curve
from ..analysis.metrics.accuracy import accuracies
from ..core import files, paths
from ..core.device import reuse_memory
from ..core.errors import UserError
from ..models import user_weights
from ..models.gamma_bias import fold_gamma
from . import page
from .calibrate import assess, calibrate_logits, choose_method
from .fold_recipe import FoldRecipe
from .folds import FOLDS, describe_folds
from .inputs import Inputs, from_images, from_logits, is_logits


def calibrate_files(arguments: argparse.Namespace) -> None:
    """Calibrate as the parsed arguments say, and write the results. Raises UserError before anything is written."""
    recipe = _fold_recipe(arguments)
    arguments.method = choose_method(
        arguments.method, arguments.pretrained, arguments.absent_share, arguments.unlabelled, arguments.held_out, recipe
    )
    ready = is_logits(arguments.data)
    outputs = _outputs(arguments, ready)
    inputs = from_logits(arguments) if ready else from_images(arguments, recipe)
    names = ", ".join(paths.display(path) for path in outputs.values())
    print(_plan(arguments, inputs, recipe))
    if arguments.dry_run:
        print(f"dry run: would write {names}; nothing is written")
        return

    reuse_memory()
    split, data = inputs.split, inputs.measure()
    result = calibrate_logits(
        data.logits,
        data.labels,
        split.seen,
        arguments.method,
        data.pretrained_logits,
        arguments.absent_share,
        data.unlabelled_logits,
        data.held_out_logits,
        data.folds,
    )
    report = result.report | inputs.about | {"class_names": inputs.names or None}
    if recipe:
        report["folds"] = describe_folds(data.folds, split, recipe)
    curve = None
    if data.test_logits is not None:
        curve = seen_absent_curve(data.test_logits, data.test_labels, split)
        report["test"] = assess(data.test_logits, data.test_labels, split, result.gamma)
        if data.test_pretrained_logits is not None:
            report["test"]["pretrained"] = accuracies(data.test_pretrained_logits, data.test_labels, split)
    report["advice"] = page.advice(report)
    written, loading = {}, ""
    if inputs.model is not None:
        folded = fold_gamma(inputs.model, split, result.gamma, data.probe)
        loading = _loading(arguments, inputs, gained=folded.state_dict().keys() - inputs.model.state_dict().keys())
        written["checkpoint"] = user_weights.calibrated_bytes(folded, result.gamma)
    pictures = page.draw_pictures(data.logits, split, inputs.names, report, curve)
    written["page"] = page.page(report, pictures, loading).encode()
    written["report"] = (json.dumps(_plain(report), indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
    with contextlib.ExitStack() as stack:  # all temporary files are complete before the first is renamed
        for name, content in written.items():
            stack.enter_context(files.replacing(outputs[name])).write_bytes(content)
    print(f"gamma = {result.gamma:.4f} by {arguments.method}")
    print("\n".join([*report["advice"], f"wrote {names}"]))


def _fold_recipe(arguments: argparse.Namespace) -> FoldRecipe | None:
    """The recipe of the folds, or None without --folds. Raises UserError for options that do not fit together."""
    names = ("epochs", "lr", "optimizer", "momentum", "weight_decay")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if not arguments.folds:
        if given or arguments.no_augmentation:
            option = next(iter(given), "no_augmentation").replace("_", "-")
            raise UserError(f"--{option} says how folds are trained; add --folds, or leave it out")
        return None
    if is_logits(arguments.data):
        raise UserError("--folds fine-tunes a model on images; give images, or leave out --folds with ready logits")
    for name in ("epochs", "lr"):
        if name not in given:
            raise UserError(f"--{name} is missing; --folds repeats your fine-tuning and takes its --epochs and --lr")
    if arguments.no_augmentation:
        given |= {"crop_scale": None, "flip": False}
    return FoldRecipe(batch_size=arguments.batch_size, **given)


def _outputs(arguments: argparse.Namespace, ready: bool) -> dict[str, Path]:
    """The path of each result. Raises UserError for options that do not fit together and for impossible paths."""
    lacking = [name for name in ("model", "checkpoint") if not getattr(arguments, name)]
    if ready and len(lacking) < 2:
        raise UserError(
            f"{paths.display(arguments.data)} holds ready logits, so no model is run; leave out --model and "
            "--checkpoint, or give images"
        )
    if not ready and lacking:
        raise UserError(f"--{lacking[0]} is missing; images need --model and --checkpoint, ready logits neither")
    for name in ("test", "unlabelled", "held_out"):
        path = getattr(arguments, name)
        if path and is_logits(path) != ready:
            raise UserError(
                f"--data and --{name.replace('_', '-')} are of different kinds; give images for both, or ready logits "
                "for both"
            )
    suffix = ".json" if ready else ".safetensors"
    if arguments.output.suffix != suffix:
        raise UserError(f"--output is {paths.display(arguments.output)}; its name must end in {suffix} here")
    outputs = {} if ready else {"checkpoint": arguments.output}
    outputs["report"] = arguments.output.with_suffix(".json")
    outputs["page"] = arguments.output.with_suffix(".html")
    names = ("checkpoint", "pretrained", "data", "test", "unlabelled", "held_out", "classes")
    given = {path.resolve() for path in (getattr(arguments, name) for name in names) if path}
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


def _plan(arguments: argparse.Namespace, inputs: Inputs, recipe: FoldRecipe | None) -> str:
    """One line that says how the inputs were understood."""
    if not inputs.names:
        naming = "given as ids"
    elif arguments.classes:
        naming = f"names from {paths.display(arguments.classes)}"
    else:
        naming = "names from the data"
    what = f"{inputs.about['samples']} samples of {paths.display(arguments.data)}"
    if inputs.model is not None:
        height, width = inputs.about["images"]["input_size"][1:]
        what = f"{arguments.model} on {what} at {height}x{width} pixels on {inputs.about['device']}"
    split = inputs.split
    classes = f"{split.num_classes} classes ({naming}), {len(split.seen)} seen and {len(split.absent)} absent"
    training = f"{FOLDS} folds of {recipe.epochs} epochs at {recipe.optimizer} {recipe.lr:g}; " if recipe else ""
    return f"{what}; {classes}; {training}gamma by {arguments.method}"


def _loading(arguments: argparse.Namespace, inputs: Inputs, gained: set[str]) -> str:
    """Python code that loads the calibrated checkpoint with timm. `gained` names biases that timm's head lacks."""
    fixed = arguments.image_size and inputs.model.pretrained_cfg.get("fixed_input_size")
    size = f", img_size={arguments.image_size}" if fixed else ""
    lines = [
        "import safetensors.torch, timm, torch",
        f"model = timm.create_model({arguments.model!r}, num_classes={inputs.split.num_classes}{size})",
    ]
    for name in sorted(gained):
        layer = name.removesuffix(".bias")
        zeros = f"torch.zeros({inputs.split.num_classes})"
        lines.append(f"model.get_submodule({layer!r}).bias = torch.nn.Parameter({zeros})  # gained for gamma")
    return "\n".join([*lines, f"model.load_state_dict(safetensors.torch.load_file({str(arguments.output)!r}))"])


def _plain(value: object) -> object:
    """The report with None for NaN and infinities, which JSON cannot represent."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
