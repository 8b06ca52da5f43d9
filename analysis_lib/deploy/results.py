"""From checked inputs to files: gamma, a checkpoint, a report and a page. What all verbs on users' models end in."""

import argparse
import contextlib
import json
import math
from pathlib import Path

from ..analysis.gamma.curve import seen_absent_curve
from ..analysis.metrics.accuracy import accuracies
from ..core import files, paths
from ..core.device import reuse_memory
from ..core.progress import announce
from ..models import torchvision_model, user_network
from ..models.adapter import Adapter
from ..models.gamma_bias import fold_gamma
from . import page
from .calibrate import assess, assess_seen, calibrate_logits
from .fold_recipe import FoldRecipe
from .folds import FOLDS, describe_folds
from .inputs import Inputs


def describe_inputs(arguments: argparse.Namespace, inputs: Inputs) -> str:
    """How the inputs were understood, on one line."""
    if not inputs.names:
        naming = "given as ids"
    elif arguments.classes:
        naming = f"names from {paths.display(arguments.classes)}"
    elif inputs.network is not None and inputs.network.own_names:
        naming = "names from the checkpoint"
    else:
        naming = "names from the data"
    what = f"{inputs.about['samples']} samples of {paths.display(arguments.data)}"
    if inputs.network is not None:
        height, width = inputs.about["images"]["input_size"][1:]
        what = f"{inputs.network.arch} on {what} at {height}x{width} pixels on {inputs.about['device']}"
    split = inputs.split
    return f"{what}; {split.num_classes} classes ({naming}), {len(split.seen)} seen and {len(split.absent)} absent"


def describe_training(recipe: FoldRecipe) -> str:
    """The length and the learning rate of a training by the recipe."""
    return f"{recipe.epochs} epochs at {recipe.optimizer} {recipe.lr:g}"


def produce(
    arguments: argparse.Namespace,
    inputs: Inputs,
    plan: str,
    method: str,
    outputs: dict[str, Path],
    folds: FoldRecipe | None,
    folding: bool,
) -> None:
    """Print the plan and, unless it is a dry run, measure, calibrate and write.

    method : the estimator of gamma. folds : the recipe of the folds that `inputs` trains, or None. folding : whether
    gamma goes into the checkpoint. Raises UserError before anything is written.
    """
    names = ", ".join(paths.display(path) for path in outputs.values())
    training = f"{FOLDS} folds of {describe_training(folds)}; " if folds else ""
    print(f"{plan}; {training}gamma by {method}")
    if arguments.dry_run:
        print(f"dry run: would write {names}; nothing is written")
        return

    reuse_memory()
    split, data = inputs.split, inputs.measure()
    announce(f"estimating gamma from {len(data.labels):,} samples")
    result = calibrate_logits(
        data.logits,
        data.labels,
        split.seen,
        method,
        data.pretrained_logits,
        arguments.absent_share,
        data.unlabelled_logits,
        data.held_out_logits if arguments.unlabelled else None,
        data.folds,
    )
    report = result.report | inputs.about | {"class_names": inputs.names or None}
    if folds:
        report["folds"] = describe_folds(data.folds, split, folds)
    if data.held_out_logits is not None:
        report["held_out"] = assess_seen(
            data.held_out_logits, data.held_out_labels, split, result.gamma, data.held_out_pretrained_logits
        )
    curve = None
    if data.test_logits is not None:
        announce(f"measuring its effect on {len(data.test_labels):,} test samples")
        curve = seen_absent_curve(data.test_logits, data.test_labels, split)
        report["test"] = assess(data.test_logits, data.test_labels, split, result.gamma)
        if data.test_pretrained_logits is not None:
            report["test"]["pretrained"] = accuracies(data.test_pretrained_logits, data.test_labels, split)
    written: dict[Path, bytes] = {}
    loading = ""
    if data.model is not None:
        report["gamma_in_checkpoint"] = folding
        final = fold_gamma(data.model, split, result.gamma, data.probe) if folding else data.model
        loading = _loading(arguments, inputs, gained=final.state_dict().keys() - data.model.state_dict().keys())
        contents = user_network.contents(inputs.network, final, result.gamma if folding else None)
        written |= {outputs["checkpoint"] / name: content for name, content in contents.items()}
    report["advice"] = page.advice(report)
    announce("drawing the page")
    pictures = page.draw_pictures(data.logits, split, inputs.names, report, curve)
    written[outputs["page"]] = page.page(report, pictures, loading).encode()
    written[outputs["report"]] = (json.dumps(_plain(report), indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
    with contextlib.ExitStack() as stack:  # all temporary files are complete before the first is renamed
        for path, content in written.items():
            stack.enter_context(files.replacing(path)).write_bytes(content)
    print(f"gamma = {result.gamma:.4f} by {method}")
    print("\n".join([*report["advice"], f"wrote {names}"]))


def _loading(arguments: argparse.Namespace, inputs: Inputs, gained: set[str]) -> str:
    """Python code that loads the written checkpoint with its library. `gained` names biases that a timm head lacks."""
    model = inputs.network.model
    if inputs.network.config is not None:
        folder = str(arguments.output)
        if not isinstance(model, Adapter):
            return f"import timm\nmodel = timm.create_model({f'local-dir:{folder}'!r}, pretrained=True)"
        loader = "AutoModelForImageClassification"
        return f"from transformers import {loader}\nmodel = {loader}.from_pretrained({folder!r})"
    fixed = arguments.image_size and model.pretrained_cfg.get("fixed_input_size")
    size = f", img_size={arguments.image_size}" if fixed else ""
    lines = [
        "import safetensors.torch, timm, torch",
        f"model = timm.create_model({arguments.model!r}, num_classes={inputs.split.num_classes}{size})",
    ]
    if isinstance(model, Adapter):
        name = arguments.model.removeprefix(torchvision_model.PREFIX)
        lines = [
            "import safetensors.torch, torchvision",
            f"model = torchvision.models.get_model({name!r}, num_classes={inputs.split.num_classes})",
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
