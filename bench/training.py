"""Training against plain loops over the same images as PNG files, and against one resident batch.

The plain loop is what torchvision's documentation shows: `ImageFolder`, random crops, flips and normalisation for one
image at a time, and a `DataLoader` without workers or with two. The resident batch is augmented and normalised
already: what the model and its optimiser take alone. Both keep freed memory (`device.reuse_memory`); what that is worth
is measured on the resident batch. Every form is in a process of its own.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from png_folder import loader, normalized, write_pngs
from rows import CEILING, Apart, Row, compare_rates, in_turns
from torch.nn.functional import cross_entropy
from torchvision import transforms

from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import Manifest, load_manifest
from analysis_lib.core.device import deterministic, reuse_memory
from analysis_lib.core.run_spec import RunSpec
from analysis_lib.core.seeds import generator_for
from analysis_lib.methods.finetune import FineTune
from analysis_lib.models.create import create_model
from analysis_lib.runs.execute import training_data
from analysis_lib.runs.plan import plan
from analysis_lib.training.loop import train_epoch
from analysis_lib.training.optimizers import create_optimizer

ROUNDS = 4
OURS, RESIDENT, RETURNING = "ours", "resident batch", "resident batch, freed memory returned"
PLAIN = {"plain loop": 0, "plain loop, two workers": 2}


@dataclass(frozen=True)
class Case:
    """A network on the images of a benchmark, the steps of a round, and the least ratio to a plain loop."""

    benchmark: str
    model: str
    method: FineTune
    steps: int
    limit: float


class Autocast(FineTune):
    """Plain fine-tuning with forward passes in bfloat16."""

    def loss(self, model, x, labels):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(x)
        return cross_entropy(logits.float(), labels), logits


CASES = [
    Case("emoji", "tf_efficientnet_lite0", FineTune(), 4, 2.0),
    Case("emoji", "resnet18", Autocast(), 4, 2.0),
    Case("glyphs", "glyphs_resnet", Autocast(), 20, 1.5),
]


def rows() -> Iterator[Row]:
    for case in CASES:
        yield from compared(case)


def compared(case: Case) -> Iterator[Row]:
    """One benchmark: against the plain loops, and against the resident batch."""
    manifest, spec = described(case)
    name = f"{case.model}{', bf16' if isinstance(case.method, Autocast) else ''}"
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        write_pngs(Path(folder), load_images(manifest), manifest.labels, images_of(manifest, spec, case))
        makers = {
            OURS: partial(whole_loop, case),
            RESIDENT: partial(resident, case),
            RETURNING: partial(returning_memory, case),
            **{title: partial(plain_loop, case, folder, workers) for title, workers in PLAIN.items()},
        }
        forms = [stack.enter_context(closing(Apart(make))) for make in makers.values()]
        times = dict(zip(makers, in_turns(*forms, rounds=ROUNDS)))
    row = partial(compare_rates, "training", count=case.steps * spec.batch_size)
    for other in PLAIN:
        yield row(f"{name}: {other}", ours=times[OURS], other=times[other], limit=case.limit)
    yield row(f"{name}: {RESIDENT}", ours=times[OURS], other=times[RESIDENT], limit=0.9, note=CEILING)
    yield row(f"{name} alone: freed memory returned", ours=times[RESIDENT], other=times[RETURNING], limit=None)


def described(case: Case) -> tuple[Manifest, RunSpec]:
    (spec,) = plan(case.benchmark, "default", [0])
    return load_manifest(case.benchmark), replace(spec, model=case.model)


def images_of(manifest: Manifest, spec: RunSpec, case: Case) -> torch.Tensor:
    """The row numbers of as many training images as the steps of a round take."""
    return manifest.rows("train")[: case.steps * spec.batch_size]


def whole_loop(case: Case):
    """An epoch of the suite, as `runs.execute` trains."""
    deterministic()
    reuse_memory()
    manifest, spec = described(case)
    model = create_model(spec.model, len(manifest.class_names)).to(memory_format=torch.channels_last)
    optimizer = create_optimizer(model.parameters(), spec)
    rows = images_of(manifest, spec, case)
    data = training_data(load_images(manifest), manifest.labels, rows, spec, manifest.head, torch.device("cpu"))
    return partial(train_epoch, model, case.method, optimizer, data, spec, 1)


def resident(case: Case):
    """The steps of an epoch on one batch, which stays where it is."""
    reuse_memory()
    return returning_memory(case)


def returning_memory(case: Case):
    """The same with the C library's own settings."""
    deterministic()
    manifest, spec = described(case)
    model = create_model(spec.model, len(manifest.class_names)).to(memory_format=torch.channels_last).train()
    optimizer = create_optimizer(model.parameters(), spec)
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # the same arithmetic, without fitting one batch until its gradients underflow
    rows = images_of(manifest, spec, case)[: spec.batch_size]
    data = training_data(load_images(manifest), manifest.labels, rows, spec, manifest.head, torch.device("cpu"))
    x, y = data.batch(rows, generator_for("bench"))

    def steps():
        for _ in range(case.steps):
            loss, _ = case.method.loss(model, x, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return steps


def plain_loop(case: Case, folder: str, workers: int):
    """An epoch over the PNG files, as torchvision's users write it."""
    manifest, spec = described(case)
    augmentation = manifest.head.augmentation
    random = [transforms.RandomResizedCrop(manifest.head.image_size, augmentation.scale)]
    random += [transforms.RandomHorizontalFlip()] if augmentation.flip else []
    batches = loader(folder, transforms.Compose([*random, normalized(manifest.head)]), spec.batch_size, workers, True)
    model = create_model(spec.model, len(manifest.class_names)).train()
    optimizer = torch.optim.SGD(model.parameters(), spec.lr, spec.momentum, weight_decay=spec.weight_decay)

    def epoch():
        for x, y in batches:
            loss = cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch
