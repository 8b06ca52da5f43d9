"""Small tasks that need no manual download, by name: what a network knew besides the task that it is fine-tuned on.

A task has at most `TRAIN` training and `TEST` test images, drawn once by a named seed, because every network that is
measured looks at all of them. A new task is a `Source`, and a line in `TASKS`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import pandas as pd
import torch
from torch.nn.functional import interpolate

from ..core.errors import unknown
from ..core.seeds import generator_for
from . import digits, emoji
from .images import load_images
from .manifest import load_manifest

TRAIN, TEST = 300, 600  # images at most
EMOJI_CLASSES = 60  # of 231, so that a class keeps several training images
TEST_FONTS = ("cmr10.ttf", "cmb10.ttf", "cmss10.ttf", "cmtt10.ttf")  # all of Computer Modern; no relative is in train


@dataclass(frozen=True)
class Task:
    """Labelled images in two parts.

    images : (N, 3, H, W) uint8. labels : (N,) int64 in 0..num_classes-1.
    clusters : (N,) int64; images of one number show the same drawing, and lie in one part.
    train, test : row numbers, int64.
    flip : whether a mirrored image keeps its class.
    """

    name: str
    images: torch.Tensor
    labels: torch.Tensor
    clusters: torch.Tensor
    train: torch.Tensor
    test: torch.Tensor
    num_classes: int
    flip: bool


@dataclass(frozen=True)
class Source:
    """How a task comes to be: `build` gives it with all of its images, at their own `size`; title : for figures."""

    build: Callable[[], Task]
    size: int
    title: str


def _handwritten() -> Task:
    """The benchmark `digits`, with all of its classes."""
    return _of_benchmark("digits", torch.arange(10), flip=False)


def _emoji() -> Task:
    """`EMOJI_CLASSES` random classes of the benchmark `emoji`."""
    order = torch.randperm(len(load_manifest("emoji").class_names), generator=generator_for("task classes", "emoji"))
    return _of_benchmark("emoji", order[:EMOJI_CLASSES].sort().values, flip=True)


def _of_benchmark(name: str, classes: torch.Tensor, flip: bool) -> Task:
    """Some classes of a benchmark, with its own training and test rows."""
    manifest = load_manifest(name)
    kept = torch.isin(manifest.labels, classes)
    labels = torch.searchsorted(classes, manifest.labels.where(kept, classes[0]))
    clusters = torch.tensor(pd.factorize(manifest.body["group"])[0])
    train, test = (rows[kept[rows]] for rows in (manifest.rows("train"), manifest.rows("test")))
    return Task(name, load_images(manifest), labels, clusters, train, test, len(classes), flip)


def _printed(name: str, characters: str, stream: str) -> Task:
    """Characters in matplotlib's fonts; those of `TEST_FONTS` are the test part. A cluster is a character of a font."""
    images, labels, fonts = digits.printed(characters, stream)
    test = torch.isin(fonts, torch.tensor([digits.FONTS.index(font) for font in TEST_FONTS]))
    parts = [part.nonzero().flatten() for part in (~test, test)]
    return Task(name, images, labels, fonts * len(characters) + labels, *parts, len(characters), flip=False)


def _printed_digits() -> Task:
    """The source images of the benchmark `digits`: its network was trained on all of them."""
    return _printed("printed_digits", "0123456789", "source")


def _printed_letters() -> Task:
    return _printed("printed_letters", "ABCDEFGHIJ", "letters")


TASKS: dict[str, Source] = {
    "emoji": Source(_emoji, emoji.SIZE, "emoji"),
    "digits": Source(_handwritten, digits.SIZE, "handwritten digits"),
    "printed_digits": Source(_printed_digits, digits.SIZE, "printed digits"),
    "printed_letters": Source(_printed_letters, digits.SIZE, "printed letters"),
}


def task_names(image_size: int) -> list[str]:
    """The tasks for networks that take images of this size: those whose own images are no larger.

    Shrunk to a few pixels, the others could not be told apart.
    """
    return [name for name, source in TASKS.items() if source.size <= image_size]


@cache
def load_task(name: str, image_size: int) -> Task:
    """A task with at most `TRAIN` and `TEST` images, resized to `image_size`; only these images are kept.

    Raises UserError for an unknown name, and as loading the images of a benchmark does.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    task = TASKS[name].build()
    train = balanced(task.labels, task.train, TRAIN, generator_for("task", name, "train"))
    test = balanced(task.labels, task.test, TEST, generator_for("task", name, "test"))
    rows = torch.cat([train, test])
    return replace(
        task,
        images=resize(task.images[rows], image_size),
        labels=task.labels[rows],
        clusters=task.clusters[rows],
        train=torch.arange(len(train)),
        test=torch.arange(len(train), len(rows)),
    )


def balanced(labels: torch.Tensor, rows: torch.Tensor, most: int, generator: torch.Generator) -> torch.Tensor:
    """At most `most` random rows, in their order, as equally many of each class as there are.

    labels : (N,) int64; rows : row numbers. Classes keep all they have before another gets more.
    """
    order = rows[torch.randperm(len(rows), generator=generator)]
    place = torch.tensor(pd.Series(order.numpy()).groupby(labels[order].numpy()).cumcount().to_numpy())
    return order[place.argsort(stable=True)[:most]].sort().values


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """Images (N, 3, H, W) uint8 as (N, 3, size, size) uint8, bilinear and antialiased; as they are if they fit."""
    if tuple(images.shape[2:]) == (size, size):
        return images
    parts = [
        interpolate(part.double(), (size, size), mode="bilinear", antialias=True).round().clamp(0, 255).byte()
        for part in images.split(64)  # few at a time: they are float64 on the way
    ]
    return torch.cat(parts)
