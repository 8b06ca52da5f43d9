"""Execute a RunSpec into a finished run folder. A finished run is not made again."""

import json
from contextlib import nullcontext
from dataclasses import asdict

import torch

from ..benchmarks.images import load_images, source_images
from ..benchmarks.manifest import Head, Manifest, load_manifest
from ..benchmarks.preprocess import normalizer, resident
from ..benchmarks.tasks import load_task
from ..core import files, paths, processes
from ..core.device import deterministic, pick_device, reuse_memory, versions
from ..core.errors import UserError
from ..core.progress import log
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for, seed_for
from ..methods import method_of
from ..models.backbone import backbone_in_bfloat16, head_name
from ..models.cosine_head import logit_scale, use_cosine_head
from ..models.create import create_model, create_random_model
from ..models.global_batchnorm import global_batchnorm
from ..models.pretrained import has_weights, imported_backbone, named_weights
from ..training.augmentation import augment
from ..training.loop import train
from ..training.method import TrainingData
from .outputs import Outputs, extract, extract_together, save_outputs
from .plan import RANDOM, run_before
from .rows import split_parts, training_rows
from .start_task import start_task


def state(run_id: str) -> str:
    """`missing`, `partial` or `done`."""
    if paths.run_done(run_id).exists():
        return "done"
    return "partial" if paths.run(run_id).exists() else "missing"


def check_finished(spec: RunSpec) -> None:
    """Raise UserError for a run that is not finished: reading never trains."""
    if state(spec.run_id) != "done":
        raise UserError(
            f"run {spec.run_id} is not finished; make it with `python -m analysis_lib run {spec.benchmark}` and the "
            "profile and seeds of your study"
        )


def execute(spec: RunSpec, device: str | None = None) -> str:
    """Make the run of `spec` unless it is done, and return its run_id.

    Safe to call again after an interruption, and from several processes at once. Processes of one group
    (`core.processes`) make the run together: the first one holds the lock and writes the files, and all return when it
    is done. Raises UserError as loading the data, loading the weights and training do.
    """
    if not processes.told(state(spec.run_id) == "done"):
        picked = pick_device(device)
        with files.locked(spec.run_id) if processes.share().is_first else nullcontext():
            if not processes.told(state(spec.run_id) == "done"):
                deterministic()
                reuse_memory()
                _begin(spec, picked)
                STAGES[spec.stage](spec, picked)
                processes.wait()
    return spec.run_id


def _begin(spec: RunSpec, device: torch.device) -> None:
    """Write the spec and the environment. Raises UserError on another device."""
    environment = {"device": device.type, "threads": torch.get_num_threads(), "versions": versions()}
    share = processes.share()
    if share.world > 1:
        environment["processes"] = share.world
    begun = paths.run_environment(spec.run_id)
    if begun.exists() and (before := json.loads(begun.read_text())["device"]) != device.type:
        raise UserError(
            f"run {spec.run_id} was begun on {before} and cannot go on on {device.type} with the same bytes; use "
            f"--device {before}, or delete {paths.display(paths.run(spec.run_id))}"
        )
    if not share.is_first:
        return
    files.write_json(paths.run_spec(spec.run_id), asdict(spec))
    files.write_json(begun, environment)
    log(f"{spec.run_id} on {device.type}")


def _finetune(spec: RunSpec, device: torch.device) -> None:
    manifest = load_manifest(spec.benchmark)
    images, labels = load_images(manifest), manifest.labels
    split = manifest.class_split(spec.seed, spec.seen)
    parts = split_parts(manifest, spec, split)
    _log_lacking(manifest, spec, parts)
    _execute_before(spec, manifest, device)
    model = create_model(spec.model, split.num_classes).to(getattr(torch, spec.dtype))
    model.load_state_dict(initial_weights(spec, manifest, model))
    if spec.autocast:
        backbone_in_bfloat16(model)
    rows = training_rows(manifest, spec)
    if spec.head == "cosine":
        _give_cosine_head(model, images, labels, rows, spec, manifest.head, device)
    else:
        _pretrained_outputs(model, images, labels, spec, manifest.head, device)  # before a method inserts modules
    _train_and_record(model, images, labels, rows, parts, spec, manifest.head, device)


def _give_cosine_head(model, images, labels, rows, spec, head: Head, device) -> None:
    """Make the head of the starting network a cosine head, with its scale from the features of the run's images."""
    linear = _pretrained_outputs(model, images, labels, spec, head, device)
    features = linear.features[torch.isin(linear.index, rows)]
    use_cosine_head(model, logit_scale(model.get_classifier().weight.detach().cpu(), features))


def _execute_before(spec: RunSpec, manifest: Manifest, device: torch.device) -> None:
    """Make the run that `spec` starts from."""
    before = run_before(spec, manifest)
    if before:
        execute(before, str(device))


def _log_lacking(manifest: Manifest, spec: RunSpec, parts: dict[str, torch.Tensor]) -> None:
    """Say which part has no image of some classes: NCM never predicts them, or no accuracy counts them."""
    classes = set(range(len(manifest.class_names)))
    for part, index in parts.items():
        lacking = sorted(classes - set(manifest.labels[index].tolist()))
        if lacking:
            first = manifest.class_names[lacking[0]]
            log(f"{spec.run_id}: no {part} image of {len(lacking)} of {len(classes)} classes, first {first}")


def _pretrain(spec: RunSpec, device: torch.device) -> None:
    manifest = load_manifest(spec.benchmark)
    images, labels, rows = source_images(manifest)
    model = create_random_model(spec.model, len(manifest.class_names), seed_for("init", spec.run_id))
    if spec.init != RANDOM:
        model.load_state_dict(model.state_dict() | imported_backbone(spec.init))
    _train_and_record(model, images, labels, rows, {}, spec, manifest.head, device)


def _learn_task(spec: RunSpec, device: torch.device) -> None:
    """Train on all classes of the last of the run's tasks. No Outputs are stored."""
    manifest = load_manifest(spec.benchmark)
    task = load_task(spec.tasks[-1], manifest.head.image_size)
    _execute_before(spec, manifest, device)
    start = create_model(spec.model, len(manifest.class_names))
    weights = initial_weights(spec, manifest, start)
    model = start_task(weights, task, spec, manifest.head, device)
    if spec.autocast:
        backbone_in_bfloat16(model)
    augmentation = manifest.head.augmentation.model_copy(update={"flip": task.flip})
    head = manifest.head.model_copy(update={"augmentation": augmentation})
    _train_and_record(model, task.images, task.labels, task.train, {}, spec, head, device)


STAGES = {"finetune": _finetune, "pretrain": _pretrain, "task": _learn_task}


def _train_and_record(model, images, labels, rows, parts, spec, head: Head, device) -> None:
    """Train; store the Outputs of every part and the head after each epoch, and the final model.

    Of processes that train together the first one writes.
    """
    writes = processes.share().is_first
    dtype = getattr(torch, spec.dtype)
    model.to(device, dtype, memory_format=torch.channels_last)
    images = resident(images, device)
    normalize = normalizer(head.mean, head.std, dtype, device)

    def after_epoch(epoch: int, model: torch.nn.Module) -> None:
        if epoch % spec.record_every and epoch != spec.epochs:
            return
        for part, index in parts.items():
            if epoch == 0 and spec.head == "linear":
                everywhere = _pretrained_outputs(model, images, labels, spec, head, device)
                outputs = everywhere.where(torch.isin(everywhere.index, index))
            else:
                outputs = extract_together(model, images, labels, index, normalize)
            if not outputs.logits.isfinite().all():
                raise UserError(
                    f"the model of run {spec.run_id} gives logits that are not finite after epoch {epoch}; lower the "
                    f"learning rate (now {spec.lr:g})"
                )
            if writes:
                save_outputs(paths.run_outputs(spec.run_id, epoch, part), outputs)
        linear = model.get_classifier()
        if writes:
            files.write_tensors(paths.run_head(spec.run_id, epoch), {"weight": linear.weight, "bias": linear.bias})

    checkpoint, final = paths.run_checkpoint(spec.run_id), paths.run_model(spec.run_id)
    if final.exists() and not checkpoint.exists():
        if writes:
            files.write_text(paths.run_done(spec.run_id), "")
        return
    with global_batchnorm(model):
        train(model, method_of(spec), training_data(images, labels, rows, spec, head, device), spec, after_epoch)
    if not writes:
        return
    history = json.loads(files.read_metadata(checkpoint)["history"])
    files.write_text(paths.run_metrics(spec.run_id), "".join(json.dumps(line) + "\n" for line in history))
    files.write_tensors(final, model.state_dict())
    checkpoint.unlink()  # from here the stored model marks that training is over
    files.write_text(paths.run_done(spec.run_id), "")


def training_data(images, labels, rows, spec, head: Head, device) -> TrainingData:
    """The images that a run trains on, normalised, and augmented as the head of the manifest says.

    With `spec.augmented` False they are as they are: no crops, no flips.
    """
    normalize = normalizer(head.mean, head.std, getattr(torch, spec.dtype), device)

    def augmented(batch: torch.Tensor, generator: torch.Generator, size: int | None = None) -> torch.Tensor:
        if not spec.augmented:
            return normalize(batch)
        return augment(normalize(batch), head.augmentation.scale, head.augmentation.flip, generator, size)

    return TrainingData(images, labels, rows, spec.batch_size, augmented, spec.run_id)


def _pretrained_outputs(model, images, labels, spec, head: Head, device) -> Outputs:
    """Outputs of the starting network, with its linear head, on all images of the target domain.

    They are the same for all runs, so they are computed once.
    """
    dtype = getattr(torch, spec.dtype)
    model.to(device, memory_format=torch.channels_last)
    normalize = normalizer(head.mean, head.std, dtype, device)
    computed_in = "bfloat16" if spec.autocast else spec.dtype
    path = paths.pretrained_outputs(spec.init, spec.data, computed_in, device.type)
    target = load_manifest(spec.benchmark).target_rows
    if not processes.share().is_first:
        processes.wait()
    outputs = files.cached(path, lambda: vars(extract(model, images, labels, target, normalize)))
    if processes.share().is_first:
        processes.wait()
    return Outputs(**outputs)


def initial_weights(spec: RunSpec, manifest: Manifest, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state dict that fine-tuning starts from: of named weights, or of the finished run `spec.init`."""
    if has_weights(spec.init):
        return named_weights(spec.init, model, manifest.head.class_ids)
    return files.read_tensors(paths.run_model(spec.init))


def load_before_after(spec: RunSpec, device: str | None = None) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The network before and after the training of a finished run, in eval mode, in the run's float type.

    Raises UserError for a run that is not finished.
    """
    check_finished(spec)
    manifest, picked = load_manifest(spec.benchmark), pick_device(device)
    deterministic()
    reuse_memory()
    start = create_model(spec.model, len(manifest.class_names))
    head = head_name(start)
    started, ended = initial_weights(spec, manifest, start), files.read_tensors(paths.run_model(spec.run_id))
    if spec.head == "cosine":
        started = started | {f"{head}.{name}": ended[f"{head}.{name}"] for name in ("bias", "scale")}  # never trained
    networks = []
    for weights in (started, ended):
        model = create_model(spec.model, len(weights[f"{head}.bias"]))  # tasks differ in their number of classes
        if spec.head == "cosine":
            use_cosine_head(model)
        if weights is ended:
            method_of(spec).insert(model, generator_for("replaced by the stored weights"))
        model.to(picked, getattr(torch, spec.dtype), memory_format=torch.channels_last).eval()
        model.load_state_dict(weights)
        networks.append(model)
    before, after = networks
    return before, after
