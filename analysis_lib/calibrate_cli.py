"""`python -m analysis_lib calibrate`: a fine-tuned checkpoint in; a calibrated one, a report and a page out."""

import argparse
import contextlib
import json
import math
from pathlib import Path

from . import calibrate_page, checkpoints, paths, runtime, store
from .analysis.accuracy import accuracies
from .analysis.calibration import seen_absent_curve
from .analysis.estimators import AUTO, ESTIMATORS, resolve
from .calibrate import assess, calibrate_logits
from .calibrate_inputs import Inputs, from_images, from_logits, is_logits
from .errors import UserError
from .folding import fold_gamma


def add_verb(verbs) -> None:
    """Add the parser of `calibrate` to argparse's sub-parsers."""
    verb = verbs.add_parser(
        "calibrate", help="give a fine-tuned classifier its absent classes back: a plain checkpoint with gamma in its head",
        description="SOURCE is an image folder with a sub-folder for each class, a list file (`relative/path label` a line), a manifest (.json "
        "beside its .csv: --data takes its training images of the seen classes, --test its test images), or ready logits (.npz or .safetensors with arrays logits and labels; .csv with columns labels, logits_0, logits_1, ...). From images you get a checkpoint, "
        "a .json report and a .html page; from logits, the report and the page.")
    verb.add_argument("--seen", required=True, help="classes of the fine-tuning data: names or ids separated by commas, or a file with one a line")
    verb.add_argument("--data", required=True, type=Path, metavar="SOURCE", help="the fine-tuning data: seen classes only")
    verb.add_argument("--output", required=True, type=Path, metavar="FILE", help="what to write: .safetensors, or .json with ready logits")
    verb.add_argument("--model", metavar="ARCH", help="the timm architecture of the checkpoint, such as resnet18")
    verb.add_argument("--checkpoint", type=Path, metavar="FILE", help="the fine-tuned weights: .safetensors or .pth with a state dict")
    verb.add_argument("--pretrained", type=Path, metavar="FILE", help="the weights (or logits) before fine-tuning, with the same outputs")
    verb.add_argument("--classes", type=Path, metavar="FILE", help="names of the outputs, one a line in head order")
    verb.add_argument("--method", default="auto", help=f"auto ({AUTO[0]} with --pretrained, else {AUTO[1]}; the default) or one of {', '.join(ESTIMATORS)}")
    verb.add_argument("--test", type=Path, metavar="SOURCE", help="labelled samples of all classes: they measure what gamma does and never choose it")
    verb.add_argument("--image-size", type=int, metavar="N", help="pixels (default: what timm states for ARCH)")
    verb.add_argument("--crop-pct", type=float, metavar="SHARE", help="centre crop after resizing (default: what timm states for ARCH)")
    verb.add_argument("--mean", type=float, nargs=3, metavar=("R", "G", "B"), help="subtracted from pixels in [0, 1] (default: timm's)")
    verb.add_argument("--std", type=float, nargs=3, metavar=("R", "G", "B"), help="divides pixels after that (default: timm's)")
    verb.add_argument("--batch-size", type=int, default=32, help="images at once (default: %(default)s)")
    verb.add_argument("--device", default="", help="cpu, cuda or cuda:N (default: CUDA where there is one)")
    verb.add_argument("--dry-run", action="store_true", help="check the inputs, say what would happen, and write nothing")
    verb.set_defaults(act=calibrate_files)


def calibrate_files(arguments: argparse.Namespace) -> None:
    """Do what the parsed arguments say. Raises UserError before anything is written."""
    arguments.method = resolve(arguments.method, arguments.pretrained is not None)
    ready = is_logits(arguments.data)
    outputs = _outputs(arguments, ready)
    inputs = from_logits(arguments) if ready else from_images(arguments)
    files = ", ".join(paths.shown(path) for path in outputs.values())
    print(_plan(arguments, inputs))
    if arguments.dry_run:
        print(f"dry run: would write {files}; nothing is written")
        return

    runtime.reuse_memory()
    split, data = inputs.split, inputs.measure()
    result = calibrate_logits(data.logits, data.labels, split.seen, arguments.method, data.pretrained_logits)
    report = result.report | inputs.about | {"class_names": inputs.names or None}
    curve = None
    if data.test_logits is not None:
        curve = seen_absent_curve(data.test_logits, data.test_labels, split)
        report["test"] = assess(data.test_logits, data.test_labels, split, result.gamma)
        if data.test_pretrained_logits is not None:
            report["test"]["pretrained"] = accuracies(data.test_pretrained_logits, data.test_labels, split)
    report["advice"] = calibrate_page.advice(report)
    written, loading = {}, ""
    if inputs.model is not None:
        folded = fold_gamma(inputs.model, split, result.gamma, data.probe)
        loading = _loading(arguments, inputs, gained=folded.state_dict().keys() - inputs.model.state_dict().keys())
        written["checkpoint"] = checkpoints.calibrated_bytes(folded, result.gamma)
    pictures = calibrate_page.draw_pictures(data.logits, split, inputs.names, report, curve)
    written["page"] = calibrate_page.page(report, pictures, loading).encode()
    written["report"] = (json.dumps(_plain(report), indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
    with contextlib.ExitStack() as stack:  # all temporary files are whole before the first takes its place
        for name, content in written.items():
            stack.enter_context(store.replacing(outputs[name])).write_bytes(content)
    print(f"gamma = {result.gamma:.4f} by {arguments.method}")
    print("\n".join([*report["advice"], f"wrote {files}"]))


def _outputs(arguments: argparse.Namespace, ready: bool) -> dict[str, Path]:
    """Where each result goes. Raises UserError for options that do not go together and places that cannot be."""
    lacking = [name for name in ("model", "checkpoint") if not getattr(arguments, name)]
    if ready and len(lacking) < 2:
        raise UserError(f"{paths.shown(arguments.data)} holds ready logits, so no model is run; leave out --model and --checkpoint, or give images")
    if not ready and lacking:
        raise UserError(f"--{lacking[0]} is missing; images need --model and --checkpoint, ready logits neither")
    if arguments.test and is_logits(arguments.test) != ready:
        raise UserError("--data and --test are of different kinds; give images for both, or ready logits for both")
    suffix = ".json" if ready else ".safetensors"
    if arguments.output.suffix != suffix:
        raise UserError(f"--output is {paths.shown(arguments.output)}; its name must end in {suffix} here")
    outputs = {"report": arguments.output.with_suffix(".json"), "page": arguments.output.with_suffix(".html")}
    outputs = outputs if ready else {"checkpoint": arguments.output} | outputs
    given = {path.resolve() for path in (arguments.checkpoint, arguments.pretrained, arguments.data, arguments.test, arguments.classes) if path}
    for path in outputs.values():
        if path.resolve() in given:
            raise UserError(f"{paths.shown(path)} is an input too; choose another --output")
        blocked = path if path.is_dir() else next((folder for folder in path.parents if folder.exists() and not folder.is_dir()), None)
        if blocked:
            raise UserError(f"cannot write {paths.shown(path)}: {paths.shown(blocked)} is {'a folder' if path.is_dir() else 'no folder'}; "
                            "choose another --output")
    return outputs


def _plan(arguments: argparse.Namespace, inputs: Inputs) -> str:
    """One line that says how the inputs were understood."""
    naming = ("names from " + (paths.shown(arguments.classes) if arguments.classes else "the data")) if inputs.names else "given as ids"
    what = f"{inputs.about['samples']} samples of {paths.shown(arguments.data)}"
    if inputs.model is not None:
        height, width = inputs.about["images"]["input_size"][1:]
        what = f"{arguments.model} on {what} at {height}x{width} pixels"
    split = inputs.split
    return f"{what}; {split.num_classes} classes ({naming}), {len(split.seen)} seen and {len(split.absent)} absent; gamma by {arguments.method}"


def _loading(arguments: argparse.Namespace, inputs: Inputs, gained: set[str]) -> str:
    """Python code that loads the calibrated checkpoint with plain timm; `gained` names the biases that it has and timm's head has not."""
    fixed = arguments.image_size and inputs.model.pretrained_cfg.get("fixed_input_size")
    size = f", img_size={arguments.image_size}" if fixed else ""
    lines = ["import safetensors.torch, timm, torch",
             f"model = timm.create_model({arguments.model!r}, num_classes={inputs.split.num_classes}{size})"]
    for name in sorted(gained):
        layer = name.removesuffix(".bias")
        lines.append(f"model.get_submodule({layer!r}).bias = torch.nn.Parameter(torch.zeros({inputs.split.num_classes}))  # gained for gamma")
    return "\n".join([*lines, f"model.load_state_dict(safetensors.torch.load_file({str(arguments.output)!r}))"])


def _plain(value: object) -> object:
    """The report with NaN and infinities as null, which JSON has no numbers for."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
