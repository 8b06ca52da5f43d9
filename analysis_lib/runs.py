"""From a RunSpec to a finished run directory; asking again costs nothing."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import torch

from . import models, paths, runtime, store
from .data.embedded import EMBEDDED
from .data.images import load_images
from .data.manifest import Manifest, load_manifest
from .errors import UserError, unknown
from .outputs import extract, normalizer, save_outputs
from .spec import PRETRAINING, RunSpec, recipe
from .split import ClassSplit
from .training import augment, train

SOURCES = {name: benchmark.source_images for name, benchmark in EMBEDDED.items() if benchmark.source_images}
FOLDS = 3  # of pseudo cross-validation, as in the paper


def plan(benchmark: str, profile: str, seeds: Sequence[int], **changes) -> list[RunSpec]:
    """The fine-tuning runs of a profile, one per seed; `changes` replace fields of the recipe.

    Raises UserError for an unknown benchmark, profile or starting network, and for no seed or one given twice.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds are {list(seeds)}; give at least one, and each once: a repeated seed is no further sample")
    manifest = load_manifest(benchmark)
    fields = {"benchmark": benchmark, "data": manifest.digest, "model": manifest.head.model} | recipe(benchmark, profile) | changes
    init = manifest.head.weights
    if init == "source" and benchmark in SOURCES:
        init = pretraining(manifest, fields.get("dtype", "float32")).run_id
    elif init not in models.WEIGHTS:
        raise unknown("weights", init, models.WEIGHTS)
    return [RunSpec(**fields, init=init, seed=seed) for seed in seeds]


def fold_specs(spec: RunSpec) -> list[RunSpec]:
    """The extra runs of pseudo cross-validation: the same recipe on a random half of the seen classes.

    A fifth of each class's groups is held out, and the pre-trained and the final Outputs are kept.
    """
    manifest = load_manifest(spec.benchmark)
    seen = manifest.class_split(spec.seed, spec.seen).seen
    specs = []
    for fold in range(FOLDS):
        order = torch.randperm(len(seen), generator=runtime.generator_for("pcv", manifest.name, spec.seed, fold))
        names = tuple(manifest.class_names[seen[i]] for i in sorted(order[: len(seen) // 2].tolist()))
        specs.append(replace(spec, seen=names, validation=True, record_every=spec.epochs))
    return specs


def pretraining(manifest: Manifest, dtype: str) -> RunSpec:
    """The run that trains a benchmark's starting network on its source domain."""
    return RunSpec(benchmark=manifest.name, data=manifest.digest, model=manifest.head.model, init="random", seed=0,
                   stage="pretrain", dtype=dtype, **PRETRAINING)


def execute(spec: RunSpec, device: str | None = None) -> str:
    """Make the run of `spec` unless it is done, and return its run_id.

    Safe to call again after an interruption and from several processes at once. Raises UserError as loading the
    data, the weights and training do.
    """
    if store.state(spec.run_id) != "done":
        picked = runtime.pick_device(device)
        with store.locked(spec.run_id):
            if store.state(spec.run_id) != "done":
                runtime.deterministic()
                runtime.reuse_memory()
                _begin(spec, picked)
                (_pretrain if spec.stage == "pretrain" else _finetune)(spec, picked)
    return spec.run_id


def _begin(spec: RunSpec, device: torch.device) -> None:
    """Record what the run is and where it runs; sweep up after a killed process. Raises UserError on another device."""
    store.sweep(paths.run(spec.run_id))
    environment = {"device": device.type, "threads": torch.get_num_threads(), "versions": runtime.versions()}
    begun = paths.run_environment(spec.run_id)
    if begun.exists() and (before := json.loads(begun.read_text())["device"]) != device.type:
        raise UserError(f"run {spec.run_id} was begun on {before} and cannot go on on {device.type} with the same bytes; "
                        f"use --device {before}, or delete {paths.shown(paths.run(spec.run_id))}")
    store.write_json(paths.run_spec(spec.run_id), asdict(spec))
    store.write_json(begun, environment)


def _finetune(spec: RunSpec, device: torch.device) -> None:
    manifest = load_manifest(spec.benchmark)
    images, labels = load_images(manifest), manifest.labels
    split = manifest.class_split(spec.seed, spec.seen)
    parts = split_parts(manifest, spec, split)
    model = models.create_model(spec.model, split.num_classes).to(getattr(torch, spec.dtype))
    model.load_state_dict(starting_weights(spec, manifest, model, device))
    rows = parts["train"][split.is_seen(labels[parts["train"]])]
    _train_and_record(model, images, labels, rows, parts, spec, manifest, device)


def _pretrain(spec: RunSpec, device: torch.device) -> None:
    manifest = load_manifest(spec.benchmark)
    images, labels = SOURCES[spec.benchmark]()
    model = models.create_random_model(spec.model, len(manifest.class_names), runtime.seed_for("init", spec.run_id))
    _train_and_record(model, images, labels, torch.arange(len(labels)), {}, spec, manifest, device)


def _train_and_record(model, images, labels, rows, parts, spec, manifest, device) -> None:
    """Train, with Outputs of every part and the head after each epoch; keep the final model."""
    head = manifest.head
    dtype = getattr(torch, spec.dtype)
    model.to(device, dtype, memory_format=torch.channels_last)
    normalize = normalizer(head.mean, head.std, dtype, device)

    def prepare(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return augment(normalize(batch), head.augmentation.scale, head.augmentation.flip, generator)

    def after_epoch(epoch: int, model: torch.nn.Module) -> None:
        if epoch % spec.record_every and epoch != spec.epochs:
            return
        for part, index in parts.items():
            outputs = extract(model, images, labels, index, normalize)
            if not outputs.logits.isfinite().all():
                raise UserError(f"the model of run {spec.run_id} gives logits that are not finite after epoch {epoch}; "
                                f"lower the learning rate (now {spec.lr:g})")
            save_outputs(paths.run_outputs(spec.run_id, epoch, part), outputs)
        linear = model.get_classifier()
        store.write_tensors(paths.run_head(spec.run_id, epoch), {"weight": linear.weight, "bias": linear.bias})

    checkpoint, final = paths.run_checkpoint(spec.run_id), paths.run_model(spec.run_id)
    if final.exists() and not checkpoint.exists():
        store.write_text(paths.run_done(spec.run_id), "")
        return
    train(model, images, labels, rows, spec, prepare, after_epoch)
    history = json.loads(store.read_metadata(checkpoint)["history"])
    store.write_text(paths.run_metrics(spec.run_id), "".join(json.dumps(line) + "\n" for line in history))
    store.write_tensors(final, model.state_dict())
    checkpoint.unlink()  # after this the model itself says that training is over
    store.write_text(paths.run_done(spec.run_id), "")


def split_parts(manifest: Manifest, spec: RunSpec, split: ClassSplit) -> dict[str, torch.Tensor]:
    """Row numbers of `train` and `test`.

    With `spec.validation` both come from the training rows: a fifth of each class's groups, at least one where the
    class has several, plays the test part, so that choosing hyper-parameters never sees a test image. Raises UserError
    if no seen image is left.
    """
    train, test = manifest.rows("train"), manifest.rows("test")
    if spec.validation:
        groups = manifest.body.iloc[train.numpy()].groupby("label")["group"].unique()
        held = {group for names in groups for group in _drawn(names, spec.seed)}
        out = torch.tensor(manifest.body["group"].iloc[train.numpy()].isin(held).to_numpy())
        train, test = train[~out], train[out]
    if not split.is_seen(manifest.labels[train]).any():
        raise UserError(f"benchmark {manifest.name!r} has no training image of a seen class; choose other seen classes")
    return {"train": train, "test": test}


def starting_weights(spec: RunSpec, manifest: Manifest, model: torch.nn.Module, device: torch.device) -> dict[str, torch.Tensor]:
    """The state dict that fine-tuning starts from: a weights package's, or the benchmark's own pre-training's, made if missing."""
    if spec.init in models.WEIGHTS:
        return models.packaged_weights(spec.init, model, manifest.head.class_ids)
    source = pretraining(manifest, spec.dtype)
    execute(source, str(device))
    return store.read_tensors(paths.run_model(source.run_id))


def both_models(spec: RunSpec, device: str | None = None) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The network before and after the fine-tuning of a finished run, in eval mode, in the run's float type."""
    manifest, picked = load_manifest(spec.benchmark), runtime.pick_device(device)
    runtime.deterministic()
    runtime.reuse_memory()
    before, after = (models.create_model(spec.model, len(manifest.class_names)) for _ in range(2))
    for model in (before, after):
        model.to(picked, getattr(torch, spec.dtype), memory_format=torch.channels_last).eval()
    before.load_state_dict(starting_weights(spec, manifest, before, picked))
    after.load_state_dict(store.read_tensors(paths.run_model(spec.run_id)))
    return before, after


def _drawn(groups: Sequence[str], seed: int) -> list[str]:
    """A fifth of the groups by a named seed: at least one, but never the only one."""
    order = sorted(groups, key=lambda group: runtime.seed_for("validation", seed, group))
    return order[: min(max(1, len(order) // 5), len(order) - 1)]
