"""From a RunSpec to a finished run directory; asking again costs nothing."""

import json
from collections.abc import Sequence

import torch

from . import models, paths, runtime, store
from .data import digits
from .data.images import load_images
from .data.manifest import Manifest, load_manifest
from .errors import UserError
from .outputs import extract, normalizer, save_outputs
from .spec import PRETRAINING, RunSpec, recipe
from .split import ClassSplit
from .training import augment, train

SOURCES = {"digits": digits.source_images}  # benchmarks whose starting network is trained here


def plan(benchmark: str, profile: str, seeds: Sequence[int], **changes) -> list[RunSpec]:
    """The fine-tuning runs of a profile, one per seed; `changes` replace fields of the recipe.

    Raises UserError for an unknown benchmark or profile.
    """
    manifest = load_manifest(benchmark)
    fields = {"benchmark": benchmark, "data": manifest.digest, "model": manifest.head.model} | recipe(benchmark, profile) | changes
    init = manifest.head.weights
    if init == "source":
        init = pretraining(manifest, fields.get("dtype", "float32")).run_id
    return [RunSpec(**fields, init=init, seed=seed) for seed in seeds]


def pretraining(manifest: Manifest, dtype: str) -> RunSpec:
    """The run that trains a benchmark's starting network on its source domain."""
    return RunSpec(benchmark=manifest.name, data=manifest.digest, model=manifest.head.model, init="random", seed=0,
                   stage="pretrain", dtype=dtype, **PRETRAINING)


def execute(spec: RunSpec, device: str | None = None) -> str:
    """Make the run of `spec` unless it is done, and return its run_id.

    Safe to call again after an interruption and from several processes at once. Raises UserError as loading the
    data, the weights and training do.
    """
    if store.state(spec.run_id) == "done":
        return spec.run_id
    with store.locked(spec.run_id):
        if store.state(spec.run_id) != "done":
            runtime.deterministic()
            store.write_json(paths.run_spec(spec.run_id), spec.as_dict())
            (_pretrain if spec.stage == "pretrain" else _finetune)(spec, runtime.pick_device(device))
    return spec.run_id


def _finetune(spec: RunSpec, device: torch.device) -> None:
    manifest = load_manifest(spec.benchmark)
    images, labels = load_images(manifest), manifest.labels
    split = manifest.class_split(spec.seed, spec.seen)
    parts = split_parts(manifest, spec, split)
    model = models.create_model(spec.model, split.num_classes)
    model.load_state_dict(_starting_weights(spec, manifest, model, device))
    rows = parts["train"][split.is_seen(labels[parts["train"]])]
    _train_and_record(model, images, labels, rows, parts, spec, manifest, device)


def _pretrain(spec: RunSpec, device: torch.device) -> None:
    manifest = load_manifest(spec.benchmark)
    images, labels = SOURCES[spec.benchmark]()
    with torch.random.fork_rng():
        torch.manual_seed(runtime.seed_for("init", spec.run_id))
        model = models.create_model(spec.model, len(manifest.class_names))
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
        for part, index in parts.items():
            save_outputs(paths.run_outputs(spec.run_id, epoch, part), extract(model, images, labels, index, normalize))
        linear = model.get_classifier()
        store.write_tensors(paths.run_head(spec.run_id, epoch), {"weight": linear.weight, "bias": linear.bias})

    train(model, images, labels, rows, spec, prepare, after_epoch)
    checkpoint = paths.run_checkpoint(spec.run_id)
    history = json.loads(store.read_metadata(checkpoint)["history"])
    store.write_text(paths.run_metrics(spec.run_id), "".join(json.dumps(line) + "\n" for line in history))
    store.write_tensors(paths.run_model(spec.run_id), model.state_dict())
    store.write_text(paths.run_done(spec.run_id), "")
    checkpoint.unlink()


def split_parts(manifest: Manifest, spec: RunSpec, split: ClassSplit) -> dict[str, torch.Tensor]:
    """Row numbers of `train` and `test`.

    With `spec.validation` both come from the training rows: a fifth of each class's groups, at least one, plays the
    test part, so that choosing hyper-parameters never sees a test image. Raises UserError if no seen image is left.
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


def _starting_weights(spec: RunSpec, manifest: Manifest, model: torch.nn.Module, device: torch.device) -> dict[str, torch.Tensor]:
    if spec.init in models.WEIGHTS:
        return models.packaged_weights(spec.init, model, manifest.head.class_ids)
    source = pretraining(manifest, spec.dtype)
    execute(source, str(device))
    return store.read_tensors(paths.run_model(source.run_id))


def _drawn(groups: Sequence[str], seed: int) -> list[str]:
    """A fifth of the groups, at least one, by a named seed."""
    order = sorted(groups, key=lambda group: runtime.seed_for("validation", seed, group))
    return order[: max(1, len(order) // 5)]
