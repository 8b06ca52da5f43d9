"""What could make training and extraction faster on a CPU, each against the suite's own path.

    python bench/cpu_path.py                                      # under a minute on 2 idle cores
    python bench/cpu_path.py --only networks,pages,threads,accuracy --output docs/reference/speed.csv  # for maintainers

All forms take turns, one step each a round; what counts is the median over rounds of the ratio in a round. Unless a row
says otherwise they have one thread and count processor seconds, so that other work on the machine does not count. The
images are random; every form of a network starts from the same weights, so the losses beside a row can be compared.
"""

import argparse
import copy
import csv
import dataclasses
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import torch
from cpu_job import BATCH, NETWORKS, TrainingStep, folded, random_images
from rows import Row, paired

from analysis_lib.analysis.metrics.accuracy import accuracies
from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.benchmarks.preprocess import normalizer
from analysis_lib.core.device import deterministic, reuse_memory
from analysis_lib.models.backbone import backbone_in_bfloat16
from analysis_lib.runs import execute, plan
from analysis_lib.runs.outputs import extract
from analysis_lib.runs.run_set import RunSet

ROUNDS = 5
CPU = torch.device("cpu")
SLEEPY, SPINNING = {"GOMP_SPINCOUNT": "10000"}, {"GOMP_SPINCOUNT": "300000"}  # the other is GNU's own default
PAGES = {
    "THP_MEM_ALLOC_ENABLE=1": {"THP_MEM_ALLOC_ENABLE": "1"},
    "GLIBC_TUNABLES=glibc.malloc.hugetlb=1": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
}


def rows() -> Iterator[Row]:
    """What `make bench` shows: training and extraction of every network."""
    return networks()


def networks() -> Iterator[Row]:
    """`training` and `extraction` of every network, with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    deterministic()
    reuse_memory()
    for name in NETWORKS:
        yield from training(name)
        yield from extraction(name)
    torch.set_num_threads(threads)


def training(name: str) -> Iterator[Row]:
    """Steps of the suite's path against bfloat16, contiguous images and weights, and torch's merged optimisers."""
    forms = {
        "default": TrainingStep(name),
        "bf16 autocast": TrainingStep(name, autocast=True),
        "contiguous": TrainingStep(name, layout=torch.contiguous_format),
        "fused SGD": TrainingStep(name, fused=True),
        "foreach SGD": TrainingStep(name, foreach=True),
    }
    times = in_turns(forms)
    losses = {form: step.loss for form, step in forms.items()}
    for form in list(forms)[1:]:
        note = f"loss {losses['default']:.4f} and {losses[form]:.4f}"
        yield rate(f"training, {name}", form, BATCH, times["default"], times[form], note)


def extraction(name: str) -> Iterator[Row]:
    """Outputs by the suite's path against bfloat16, contiguous weights, folded BatchNorm and other batch sizes."""
    images = random_images(name, 2 * BATCH if name == "tf_efficientnet_lite0" else 8 * BATCH)
    n = len(images)
    normalize = normalizer([0.5] * 3, [0.25] * 3, torch.float32, CPU)
    plain = TrainingStep(name).model.eval()
    half = copy.deepcopy(plain)
    backbone_in_bfloat16(half)
    models = {
        "default": plain,
        "bf16 autocast": half,
        "contiguous weights": copy.deepcopy(plain).to(memory_format=torch.contiguous_format),
        "BatchNorm folded": folded(plain, normalize(images[:2])),
    }
    found = {}

    def form(key: str, model: torch.nn.Module, **options) -> Callable[[], None]:
        def run() -> None:
            found[key] = extract(
                model, images, torch.zeros(n, dtype=torch.int64), torch.arange(n), normalize, **options
            )

        return run

    forms = {key: form(key, model) for key, model in models.items()}
    forms |= {f"batch of {size}": form(f"batch of {size}", plain, batch_size=size) for size in (32, 64, 256)}
    times = in_turns(forms)
    expected = found["default"].logits
    for key in list(forms)[1:]:
        apart = ((found[key].logits - expected).abs().max() / expected.abs().max()).item()
        note = "same bytes" if apart == 0 else f"largest change of a logit {apart:.0e} of the largest"
        yield rate(f"extraction, {name}", key, n, times["default"], times[key], note)


def pages() -> Iterator[Row]:
    """Large pages for tensors; both are read when a process starts, so each is a process of its own."""
    settings = {"default": {}} | PAGES
    jobs = {key: [] for key in settings}
    for _ in range(3):
        for key, setting in settings.items():
            jobs[key].append(1 / job(1, setting)["per_cpu_second"])
    for key in PAGES:
        yield rate("training, tf_efficientnet_lite0", key, 1, jobs["default"], jobs[key], "processes in turns")


def threads() -> Iterator[Row]:
    """Threads that sleep soon against those that spin, alone and beside another job; two threads in one process or two.

    These rows count seconds of the clock, so they need an otherwise idle machine.
    """
    for title, beside in (("alone", 0), ("beside a job of two threads", 1)):
        turns = []
        for _ in range(3):
            turns.append([1 / side_by_side(2, setting, 1 + beside)[0] for setting in (SLEEPY, SPINNING)])
        ours, other = map(list, zip(*turns))
        yield rate("threads", f"GOMP_SPINCOUNT=10000 against none, {title}", 1, ours, other, "2 threads, by the clock")
    turns = []
    for _ in range(3):
        turns.append([1 / sum(side_by_side(1, SLEEPY, 2)), 1 / sum(side_by_side(2, SLEEPY, 1))])
    ours, other = map(list, zip(*turns))
    yield rate(
        "threads", "two processes of one thread against one of two", 1, ours, other, "both together, by the clock"
    )


def accuracy() -> Iterator[Row]:
    """How far bfloat16 moves the accuracies of finished `glyphs` runs, against half of the narrowest 95 % interval.

    The interval counts every image as independent, so the intervals of the studies are wider. No row without runs.
    """
    manifest = load_manifest("glyphs")
    specs = [spec for spec in plan.plan("glyphs", "default", [20, 21, 22]) if execute.state(spec.run_id) == "done"]
    moved, room = [], []
    for spec in specs:
        runs = RunSet(manifest, (spec,), "cpu")
        stored, split = runs.outputs(spec, spec.epochs, "test"), runs.split(spec)
        _, model = execute.load_before_after(spec, "cpu")
        backbone_in_bfloat16(model)
        normalize = runs.prepared(spec, stored.index, CPU).normalize
        again = extract(model, load_images(manifest), manifest.labels, stored.index, normalize)
        before, after = (accuracies(outputs.logits, outputs.labels, split) for outputs in (stored, again))
        for key in ("acc_yy", "acc_sy", "acc_uy", "acc_ss", "acc_uu"):
            n = len(stored.labels) if key == "acc_yy" else len(stored.labels) / 2
            moved.append(abs(after[key] - before[key]))
            room.append(1.96 * (before[key] * (1 - before[key]) / n) ** 0.5)
    if specs:
        note = f"{len(specs)} runs, five accuracies each; the ratio is the room over the change"
        pair = max(zip(moved, room), key=lambda both: both[0] / both[1])
        ratio = pair[1] / pair[0] if pair[0] else float("inf")
        yield Row(
            "extraction, glyphs", "accuracy in bf16, largest change", pair[1], pair[0], "accuracy", ratio, 1, note
        )


PARTS = {part.__name__: part for part in (networks, pages, threads, accuracy)}


def in_turns(forms: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """The processor seconds of every form in every round, after one round that is not counted."""
    times = {key: [] for key in forms}
    for _ in range(ROUNDS + 1):
        for key, form in forms.items():
            begin = time.process_time()
            form()
            times[key].append(time.process_time() - begin)
    return {key: seconds[1:] for key, seconds in times.items()}


def rate(area: str, name: str, count: int, ours: list[float], other: list[float], note: str) -> Row:
    """A row of images per second from the seconds for `count` images; it has no limit."""
    rates = [count / statistics.median(seconds) for seconds in (ours, other)]
    return Row(area, name, *rates, "images/s", paired(ours, other), None, note)


def start(threads: int, setting: dict[str, str]) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)} | setting
    command = [sys.executable, str(Path(__file__).with_name("cpu_job.py"))]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)


def job(threads: int, setting: dict[str, str]) -> dict[str, float]:
    """Images per second of the clock and of the processor that a process of its own trains on."""
    return json.loads(start(threads, setting).communicate()[0])


def side_by_side(threads: int, setting: dict[str, str], processes: int) -> list[float]:
    """Images per second of the clock of each of some processes that train at once."""
    running = [start(threads, setting) for _ in range(processes)]
    return [json.loads(process.communicate()[0])["per_second"] for process in running]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="networks", metavar="PARTS", help=f"of {', '.join(PARTS)}, with commas")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the rows as CSV")
    arguments = parser.parse_args()
    made = []
    for row in itertools.chain.from_iterable(PARTS[part]() for part in arguments.only.split(",")):
        made.append(row)
        numbers = f"{row.ours:>9.4g}{row.other:>9.4g} {row.unit:<9} {row.ratio:>6.2f}"
        print(f"{row.area:<34}{row.name:<50}{numbers}   {row.note}", flush=True)
    if arguments.output:
        write(arguments.output, made)


def write(path: Path, made: list[Row]) -> None:
    """The rows as CSV, six digits each, with the date and the processor's instruction set."""
    columns = [field.name for field in dataclasses.fields(Row)] + ["made_on", "level"]
    made_on = [datetime.now(UTC).date().isoformat(), torch.backends.cpu.get_cpu_capability()]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in made:
            numbers = [f"{value:.6g}" if isinstance(value, float) else value for value in dataclasses.astuple(row)]
            writer.writerow([*numbers, *made_on])


if __name__ == "__main__":
    main()
