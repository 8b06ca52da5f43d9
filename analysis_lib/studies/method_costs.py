"""What a step of each fine-tuning method costs on this machine: time, and the largest memory of a process."""

import resource
import statistics
import sys
import time
from pathlib import Path

import pandas as pd
import torch

from ..benchmarks.images import load_images
from ..benchmarks.manifest import load_manifest
from ..core.device import deterministic, pick_device, reuse_memory
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for
from ..core.workers import in_own_process
from ..methods import method_of
from ..models.create import create_model
from ..runs.execute import initial_weights, training_data
from ..runs.rows import training_rows
from ..training.optimizers import create_optimizer, parameter_groups
from .fine_tuning_methods import PLAIN

STEPS = 5
PROCESS = Path("/proc/self/status")


def costs(runs: dict[str, RunSpec], device: str) -> pd.DataFrame:
    """The cost of each method beside plain fine-tuning: columns method, trainable, seconds, times, memory_mb, extra_mb.

    runs : a run of each method that takes steps, by name; `finetune` must be among them. trainable : the number of
    weights that train, the head's among them. seconds : the median of five steps, after one that is not counted.
    times : as a multiple of plain fine-tuning. memory_mb : the most memory that a process with this method held;
    extra_mb : beyond plain fine-tuning. Every method runs in a process of its own. Averages and BatchNorm's
    re-estimation at the end of a round or a run are not counted.
    """
    rows = []
    for name, run in runs.items():
        rows.append((name, *in_own_process(measure, run, device)))
    table = pd.DataFrame(rows, columns=["method", "trainable", "seconds", "memory_mb"])
    plain = table.set_index("method").loc[PLAIN]
    table["times"] = table["seconds"] / plain["seconds"]
    table["extra_mb"] = table["memory_mb"] - plain["memory_mb"]
    return table[["method", "trainable", "seconds", "times", "memory_mb", "extra_mb"]]


def measure(spec: RunSpec, device_name: str) -> tuple[int, float, float]:
    """How many weights train, the seconds of a step, and the largest memory of this process, or of the GPU, in MB."""
    deterministic()
    reuse_memory()
    manifest, device = load_manifest(spec.benchmark), pick_device(device_name)
    model = create_model(spec.model, len(manifest.class_names)).to(getattr(torch, spec.dtype))
    model.load_state_dict(initial_weights(spec, manifest, model))
    model.to(device, memory_format=torch.channels_last)
    rows = training_rows(manifest, spec)
    data = training_data(load_images(manifest), manifest.labels, rows, spec, manifest.head, device)
    method = method_of(spec)
    method.prepare(model, data)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    optimizer = create_optimizer(parameter_groups(model, spec), spec)
    method.before_epoch(model, 0.0)
    generator = generator_for("costs")
    batches = method.batches(data, 1, generator)[: STEPS + 1]
    seconds = []
    for step, batch in enumerate(batches):
        begin = time.perf_counter()
        loss, _ = method.loss(model, *data.batch(batch, generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(model, optimizer, step, spec.epochs * data.steps)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return trainable, statistics.median(seconds[1:]), peak_mb(device)


def peak_mb(device: torch.device) -> float:
    """The most memory in MB that this process has held so far (of the device, on a GPU)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    if PROCESS.exists():  # Linux; its getrusage counts the process that started this one as well
        kilobytes = next(line.split()[1] for line in PROCESS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(kilobytes) / 2**10
    per_mb = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / per_mb
