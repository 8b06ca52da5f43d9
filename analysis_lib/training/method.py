"""Method, the base class of fine-tuning methods: the hooks of the one training loop, and the data that they may use."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import nn

from ..benchmarks.stream import StreamedImages, in_order
from ..core.options import check_options
from ..core.processes import share
from ..core.seeds import generator_for


@dataclass(frozen=True)
class TrainingData:
    """The images that a run is fine-tuned on.

    images : (N, 3, H, W) uint8, or anything that gives them for row numbers.
    labels : (N,) int64.
    rows : (R,) row numbers of the fine-tuning data.
    batch_size : the largest batch.
    augmented : from images to the batch that the model sees, with random crops and flips from the generator. Where
    several processes train together it also takes the size of the whole batch, of which the images are a share.
    name : of the run; random streams are named after it.
    """

    images: torch.Tensor | StreamedImages
    labels: torch.Tensor
    rows: torch.Tensor
    batch_size: int
    augmented: Callable[..., torch.Tensor]
    name: str

    @property
    def steps(self) -> int:
        """The gradient steps of one epoch."""
        return math.ceil(len(self.rows) / self.batch_size)

    @cached_property
    def classes(self) -> torch.Tensor:
        """The sorted classes of the fine-tuning data, int64: all others are absent."""
        return self.labels[self.rows].unique()

    def generator(self, *names: object) -> torch.Generator:
        """A random stream of this run."""
        return generator_for(*names, self.name)

    def batch(self, rows: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Augmented images and labels, on the model's device."""
        return next(self.in_order([rows], generator))

    def in_order(
        self, batches: Sequence[torch.Tensor], generator: torch.Generator
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Each `batch` of one after another, or this process's share of each; streamed images are read ahead."""
        own = [share().of(rows) for rows in batches]
        for images, rows, whole in zip(in_order(self.images, own), own, batches):
            size = () if len(rows) == len(whole) else (len(whole),)
            x = self.augmented(images, generator, *size)
            yield x, self.labels[rows].to(x.device)

    def passes(self, *names: object) -> Iterator[torch.Tensor]:
        """Augmented images of all fine-tuning data once, in order, in batches of nearly equal size."""
        generator = self.generator(*names)
        for x, _ in self.in_order(self.rows.tensor_split(self.steps), generator):
            yield x


class Method:
    """A fine-tuning method: a dataclass whose fields are its options. Only `loss` must be defined.

    Options made by `not_negative` and so on of `core.options` are checked: UserError for a number out of range.

    Hooks change the model in place. An interrupted run calls `prepare` again on the starting network before its resume
    file is loaded, so `prepare` must depend on nothing but the starting network and the data. What else a method
    carries from epoch to epoch goes into `state`.
    """

    title: ClassVar[str]
    choices: ClassVar[tuple[str, tuple[float, ...]] | None] = None  # an option, and the values to choose among
    folds: ClassVar[bool] = True  # whether a trained network has a `plain_state`

    def __post_init__(self):
        check_options(self, self.title)

    def insert(self, model: nn.Module, generator: torch.Generator) -> None:
        """Add the modules that the trained network has beside its own; also called to load a finished run."""

    def prepare(self, model: nn.Module, data: TrainingData) -> None:
        """Called once, before the optimiser is made: freeze weights, insert modules, copy the starting network."""

    def before_epoch(self, model: nn.Module, done: float) -> None:
        """Called before every epoch: set train mode. `done` is the finished fraction of all epochs."""
        model.train()

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step 0, 1, ... of all `steps` of the run, as a multiple of the run's."""
        return (1 + math.cos(math.pi * step / steps)) / 2

    def batches(self, data: TrainingData, epoch: int, generator: torch.Generator) -> list[torch.Tensor]:
        """The row numbers of every step of an epoch. No image is dropped, and no batch is tiny."""
        return list(data.rows[torch.randperm(len(data.rows), generator=generator)].tensor_split(data.steps))

    def loss(self, model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of a batch, a scalar, and its logits (N, C).

        x : (N, 3, H, W); labels : (N,) int64.
        """
        raise NotImplementedError

    def after_step(self, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, steps: int) -> None:
        """Called after every step of the optimiser, numbered as in `rate`: average weights, project them."""

    def state(self) -> dict[str, torch.Tensor]:
        """What the method carries from epoch to epoch, for the resume file."""
        return {}

    def load_state(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take what `state` returned, after an interruption."""

    def finish(self, model: nn.Module, data: TrainingData) -> None:
        """Called after the last epoch, before its Outputs are stored: use averaged weights, re-estimate BatchNorm."""

    def plain_state(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """The state dict with which the starting network gives the logits of the trained one, in eval mode.

        Raises UserError where what was inserted cannot be written into the network's own weights.
        """
        return model.state_dict()
