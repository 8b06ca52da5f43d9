"""How much of the raw speed of a training step survives in the whole loop: loading, augmentation, bookkeeping.

The raw step is the same model, optimiser and batch size on one resident, already augmented batch. Both are timed in
turns in one process, so a change in the machine's speed hits both. The raw step is also timed before the process begins
to keep freed memory (`runtime.reuse_memory`).

    python bench/throughput.py            # about two minutes on 2 cores
"""

import statistics
import time

import torch
from torch.nn import functional

from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.benchmarks.preprocess import normalizer
from analysis_lib.core.device import deterministic, pick_device, reuse_memory
from analysis_lib.core.seeds import generator_for
from analysis_lib.methods.finetune import FineTune
from analysis_lib.models import create
from analysis_lib.runs import plan
from analysis_lib.training.augmentation import augment
from analysis_lib.training.loop import train_epoch
from analysis_lib.training.method import TrainingData
from analysis_lib.training.optimizers import create_optimizer

ROUNDS, STEPS = 9, 8
deterministic()
device = pick_device()
manifest = load_manifest("emoji")
(spec,) = plan.plan("emoji", "default", [0])
images, labels = load_images(manifest), manifest.labels
model = create.create_model(spec.model, len(manifest.class_names)).to(device, memory_format=torch.channels_last)
optimizer = create_optimizer(model.parameters(), spec)
normalize = normalizer(manifest.head.mean, manifest.head.std, torch.float32, device)
rows = manifest.rows("train")[: STEPS * spec.batch_size]


def prepare(batch, generator):
    return augment(normalize(batch), manifest.head.augmentation.scale, manifest.head.augmentation.flip, generator)


data = TrainingData(images, labels, rows, spec.batch_size, prepare, spec.run_id)


def whole_loop():
    train_epoch(model, FineTune(), optimizer, data, spec, 1)


resident = prepare(images[rows[: spec.batch_size]], generator_for("bench")), labels[rows[: spec.batch_size]].to(device)


def raw_steps():
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # the same arithmetic, without fitting one batch until its gradients underflow
    for _ in range(STEPS):
        loss = functional.cross_entropy(model(resident[0]), resident[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


seconds(raw_steps)
fresh = statistics.median(seconds(raw_steps) for _ in range(ROUNDS))
reuse_memory()
seconds(raw_steps), seconds(whole_loop)
pairs = [(seconds(raw_steps), seconds(whole_loop)) for _ in range(ROUNDS)]
count = STEPS * spec.batch_size
raw, whole = (statistics.median(column) for column in zip(*pairs))
share = statistics.median(a / b for a, b in pairs)
print(
    f"{manifest.head.model} on {device}, {torch.get_num_threads()} threads, batch {spec.batch_size}, "
    f"{manifest.head.image_size} px"
)
print(
    f"resident batch {count / raw:.1f} images/s, whole loop {count / whole:.1f} images/s: {100 * share:.0f} % (at "
    f"least 85 %), {ROUNDS} rounds from {100 * min(a / b for a, b in pairs):.0f} to "
    f"{100 * max(a / b for a, b in pairs):.0f} %"
)
print(f"memory kept between batches: {fresh / raw:.2f} times as fast as with the C library's own settings")
