"""Time and memory of large users: a million samples of a thousand classes, and 50,000 images in 1,000 class folders.

python bench/load.py                                   # minutes, and 13 GB of disk while it runs
python bench/load.py --scale 0.01                      # a quick look
python bench/load.py --output docs/reference/load.csv  # for maintainers

Each step is a process of its own, started as a user starts it. peak_mb is the largest resident memory (VmHWM), which
counts pages of mapped files although the system may drop them; anonymous_mb is the part that it cannot drop (RssAnon,
looked at 50 times a second). The limit holds for the peak. Seconds are of the clock.
"""

import argparse
import csv
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import safetensors.torch
import timm
import torch
from PIL import Image

N, IMAGES, CLASSES = 1_000_000, 50_000, 1_000
LIMIT = 8_000  # MB
ARCH, PIXELS = "test_resnet", 16  # the images are to be many, and the network small
CALIBRATE = [sys.executable, "-m", "analysis_lib", "calibrate"]
# a library call on a file of numpy, mapped
IN_PYTHON = """
import sys, numpy, torch
from analysis_lib.deploy.calibrate import calibrate_logits
logits, labels = (torch.from_numpy(numpy.load(path, mmap_mode="c")) for path in sys.argv[1:])
print(calibrate_logits(logits, labels, range(logits.shape[1] // 2), "max_gap").gamma)
"""
# letters with marks, from right to left, of East Asia, pictures of several code points, and what HTML and TeX read
SCRIPTS = [
    "año",
    "e\u0323\u0301",
    "שלום",
    "مرحبا",
    "猫の手",
    "고양이",
    "क्षेत्र",
    "👩🏽\u200d🚀",
    "🇨🇭",
    "a&b <i>",
    "5$ ^_",
    "ไทย",
]


@dataclass(frozen=True)
class Row:
    """What one step took."""

    what: str
    size: str
    seconds: float
    peak_mb: int
    anonymous_mb: int
    limit_mb: int


COLUMNS = [field.name for field in fields(Row)]


def measured(command: list[str]) -> tuple[float, int, int]:
    """Seconds, peak and anonymous memory in MB of a command; what it prints is shown if it fails."""
    begin, peak, anonymous = time.perf_counter(), 0, 0
    with tempfile.TemporaryFile("w+") as printed:
        child = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT)
        while child.poll() is None:
            status = Path(f"/proc/{child.pid}/status").read_text()
            if found := re.search(r"VmHWM:\s+(\d+)[\s\S]*RssAnon:\s+(\d+)", status):  # none once it has ended
                peak, anonymous = int(found[1]), max(anonymous, int(found[2]))
            time.sleep(0.02)
        seconds = time.perf_counter() - begin
        if child.returncode:
            printed.seek(0)
            raise SystemExit(f"{' '.join(command)} ended with {child.returncode}:\n{printed.read()}")
    return seconds, round(peak * 1024 / 1e6), round(anonymous * 1024 / 1e6)  # KiB on Linux


def write_logits(folder: Path, name: str, n: int, classes: int, among: int) -> None:
    """`<name>.npy` and `<name>_labels.npy` of the first `among` classes, and both as `<name>.safetensors`."""
    random = torch.Generator().manual_seed(n)
    labels = torch.randint(among, (n,), generator=random)
    logits = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, (n, classes))
    for rows in torch.arange(n).split(4096):
        some = torch.randn(len(rows), classes, generator=random)
        some[:, : classes // 2] += 1
        some[torch.arange(len(rows)), labels[rows]] += 4
        logits[rows[0] : rows[-1] + 1] = some
    np.save(folder / f"{name}_labels.npy", labels.numpy())
    mapped = torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c"))
    safetensors.torch.save_file({"logits": mapped, "labels": labels}, folder / f"{name}.safetensors")


def class_names(classes: int) -> list[str]:
    """So many names in all scripts; the number keeps them apart."""
    return [f"{SCRIPTS[number % len(SCRIPTS)]} {number:04}" for number in range(classes)]


def write_images(folder: Path, count: int, classes: int) -> None:
    """Tiny pictures, no two alike, in class folders `all`, half of the classes also in `own`; a network, and lists."""
    names = sorted(class_names(classes))
    for number in range(count):
        path = folder / "all" / names[number % classes] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        if number % classes < classes // 2:
            link = folder / "own" / path.parent.name / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, link)
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    (folder / "seen.txt").write_text("".join(f"{name}\n" for name in names[: classes // 2]))
    torch.manual_seed(0)
    safetensors.torch.save_file(
        timm.create_model(ARCH, num_classes=classes).state_dict(), folder / "network.safetensors"
    )


def logits_steps(folder: Path, n: int, classes: int) -> Iterator[tuple[str, str, list[str]]]:
    """What is measured, its size and the command, on ready logits of n samples in all."""
    seen = ["--seen", ",".join(map(str, range(classes // 2)))]
    write_logits(folder, "own", n, classes, classes // 2)
    own, size = folder / "own.safetensors", f"{n:,} x {classes:,}"
    output = ["--output", str(folder / "out.json")]
    yield "calibrate, ready logits", size, [*CALIBRATE, "--data", str(own), *seen, *output]
    npy = [str(folder / "own.npy"), str(folder / "own_labels.npy")]
    yield "calibrate_logits, in Python", size, [sys.executable, "-c", IN_PYTHON, *npy]
    own.unlink()
    np.savez(folder / "own.npz", logits=np.load(npy[0], mmap_mode="r"), labels=np.load(npy[1]))
    yield "calibrate, ready logits as .npz", size, [*CALIBRATE, "--data", str(folder / "own.npz"), *seen, *output]
    for file in folder.iterdir():
        file.unlink()
    part = n // 3
    given = []
    for option, among in (("data", classes // 2), ("pretrained", classes // 2), ("test", classes)):
        write_logits(folder, option, part, classes, among)
        given += [f"--{option}", str(folder / f"{option}.safetensors")]
    yield (
        "calibrate, ready logits, pre-trained and test",
        f"3 x {part:,} x {classes:,}",
        [*CALIBRATE, *given, *seen, *output],
    )


def image_steps(folder: Path, count: int, classes: int) -> Iterator[tuple[str, str, list[str]]]:
    """What is measured, its size and the command, on an image folder."""
    write_images(folder, count, classes)
    size, verbs = f"{count:,} images, {classes:,} classes", [sys.executable, "-m", "analysis_lib"]
    seen = ["--seen", str(folder / "seen.txt")]
    (folder / "data_manifests").mkdir()
    yield "manifest create", size, [*verbs, "manifest", "create", str(folder / "all"), "--name", "load", *seen]
    yield "manifest verify", size, [*verbs, "manifest", "verify", "load"]
    model = ["--model", ARCH, "--checkpoint", str(folder / "network.safetensors"), "--image-size", str(PIXELS)]
    model += ["--classes", str(folder / "classes.txt"), "--data", str(folder / "own"), "--test", str(folder / "all")]
    model += ["--output", str(folder / "out.safetensors"), "--batch-size", "256"]
    yield "calibrate, dry run", size, [*CALIBRATE, *model, *seen, "--dry-run"]
    yield "calibrate", size, [*CALIBRATE, *model, *seen]
    yield "finetune, one epoch", size, [*verbs, "finetune", *model, "--epochs", "1"]


STEPS: dict[str, Callable] = {"logits": logits_steps, "images": image_steps}


def main() -> int:
    """Measure every step and return the exit code: 1 if a peak is over the limit."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="share of the samples and images (default: all)")
    parser.add_argument("--only", choices=STEPS, help="only the steps on logits, or on images")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table as CSV")
    arguments = parser.parse_args()
    sizes = {"logits": round(N * arguments.scale), "images": round(IMAGES * arguments.scale)}
    rows = []
    print(f"{'step':<46}{'seconds':>9}{'peak MB':>9}{'anonymous':>11}   (limit {LIMIT:,} MB)", flush=True)
    for kind in [arguments.only] if arguments.only else STEPS:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["FTC_ROOT"] = folder
            for what, size, command in STEPS[kind](Path(folder), sizes[kind], CLASSES):
                seconds, peak, anonymous = measured(command)
                rows.append(Row(what, size, round(seconds, 1), peak, anonymous, LIMIT))
                over = "   over the limit" if peak > LIMIT else ""
                print(f"{what:<46}{seconds:>9.1f}{peak:>9,}{anonymous:>11,}   {size}{over}", flush=True)
    if arguments.output:
        with open(arguments.output, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *map(astuple, rows)])
    return int(any(row.peak_mb > LIMIT for row in rows))


if __name__ == "__main__":
    sys.exit(main())
