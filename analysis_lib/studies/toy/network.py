"""The toy example: four classes in the plane, pre-trained in one domain, fine-tuned on two classes of another.

The paper's coordinates and network are unknown, so this is a design of ours. Class centres lie on a circle; the target
domain is the same classes rotated about the origin and shifted. Everything is float64 on the CPU and takes about a
second. `measures` has its metrics. Letters: N points, C classes; S seen and U absent classes, Y both. Angles are in
degrees.
"""

import copy
import functools
import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ...core.class_split import ClassSplit
from ...core.errors import UserError
from ...core.seeds import normal_draws, on_grid, seed_for

PRE_TRAINED, FINE_TUNED = "pre-trained", "fine-tuned"


class Diverged(UserError):
    """The training of a toy network ended in weights that are not finite."""


SIMILAR, DISSIMILAR = (0, 2), (0, 1)  # seen classes: each absent class lies between two of them, or next to only one


@dataclass(frozen=True)
class ToySource:
    """The pre-training domain and the network trained in it by plain full-batch gradient descent on all classes.

    angles : of the class centres on a circle of `radius`; sigma : standard deviation of a class in each direction;
    per_class : points of each class in each data set; width : of the two hidden layers.
    Raises UserError when a count is below one.
    """

    angles: tuple[float, ...] = (0, 90, 180, 270)
    radius: float = 3.0
    sigma: float = 0.3
    per_class: int = 50
    width: int = 64
    steps: int = 2000
    lr: float = 0.05
    seed: int = 0

    def __post_init__(self):
        for name in ("per_class", "width", "steps"):
            if getattr(self, name) < 1:
                raise UserError(f"the toy example has {name}={getattr(self, name)}; give at least 1")


@dataclass(frozen=True)
class ToyConfig:
    """The target domain, and the fine-tuning by plain full-batch gradient descent on its seen classes.

    The target domain is the source rotated by `rotation` and then shifted by the length `shift` towards `direction`.
    Rotation and shift of absent classes are `absent_motion` times as large: at 1 all classes move alike, at -1 the
    absent ones move the opposite way.
    """

    source: ToySource = ToySource()
    seen: tuple[int, ...] = SIMILAR
    rotation: float = 25.0
    shift: float = 1.5
    direction: float = 90.0
    absent_motion: float = 1.0
    steps: int = 200
    lr: float = 0.01

    @property
    def split(self) -> ClassSplit:
        """The seen and absent classes. Raises UserError for seen classes that do not fit."""
        return ClassSplit(len(self.source.angles), self.seen)


@dataclass(frozen=True)
class Points:
    """Points x (N, 2) float64 of the plane and their labels (N,) int64."""

    x: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class ToyData:
    """The points of a configuration: source training, target training (all classes) and target test.

    `fine_tuning` are the points of seen classes in `train`.
    """

    source: Points
    train: Points
    test: Points
    fine_tuning: Points


class ToyNet(nn.Module):
    """A network of layers 2 - width - width - 2 features - C logits, float64, initialised from a named stream."""

    def __init__(self, source: ToySource):
        super().__init__()
        real = {"dtype": torch.float64}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for("toy", "init", source.seed))
            self.backbone = nn.Sequential(
                nn.Linear(2, source.width, **real),
                nn.ReLU(),
                nn.Linear(source.width, source.width, **real),
                nn.ReLU(),
                nn.Linear(source.width, 2, **real),
            )
            self.head = nn.Linear(2, len(source.angles), **real)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(on_grid(parameter))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (N, 2) and logits (N, C) of points (N, 2)."""
        features = self.backbone(x)
        return features, self.head(features)


def _draw(source: ToySource, stream: str) -> Points:
    """Fresh points of all classes in the source domain."""
    labels = torch.arange(len(source.angles)).repeat_interleave(source.per_class)
    angles = torch.tensor(source.angles, dtype=torch.float64).deg2rad()
    centres = source.radius * torch.stack([angles.cos(), angles.sin()], 1)
    noise = normal_draws((len(labels), 2), "toy", stream, source.seed)
    return Points(on_grid(centres[labels] + source.sigma * noise), labels)


def _moved(points: Points, config: ToyConfig) -> Points:
    """The same points in the target domain."""
    absent = (~config.split.is_seen(points.labels)).double()
    share = 1 + (config.absent_motion - 1) * absent
    turn = torch.polar(torch.ones_like(share), share * math.radians(config.rotation))
    shift = torch.polar(share.new_tensor(config.shift), share.new_tensor(math.radians(config.direction)))
    return Points(torch.view_as_real(torch.view_as_complex(points.x) * turn + share * shift), points.labels)


def make_data(config: ToyConfig) -> ToyData:
    """The four data sets of a configuration; configurations with the same source share all noise. Source: ours."""
    train = _moved(_draw(config.source, "train"), config)
    test = _moved(_draw(config.source, "test"), config)
    seen = config.split.is_seen(train.labels)
    return ToyData(_draw(config.source, "source"), train, test, Points(train.x[seen], train.labels[seen]))


def _fit(model: ToyNet, points: Points, steps: int, lr: float) -> None:
    """Gradient descent on the cross-entropy over all classes and all points, in place."""
    optimizer = torch.optim.SGD(model.parameters(), lr)
    for _ in range(steps):
        loss = cross_entropy(model(points.x)[1], points.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if not all(parameter.isfinite().all() for parameter in model.parameters()):
        raise Diverged(f"the toy network diverged within {steps} steps; lower the learning rate (now {lr:g})")


@functools.lru_cache(maxsize=16)
def _pretrained(source: ToySource) -> ToyNet:
    """The pre-trained network of a source, shared by all its configurations: copy it before training it further."""
    model = ToyNet(source)
    _fit(model, _draw(source, "source"), source.steps, source.lr)
    return model


@dataclass(frozen=True)
class ToyResult:
    """A finished toy run: the data, and the network before and after fine-tuning."""

    config: ToyConfig
    data: ToyData
    before: ToyNet
    after: ToyNet

    @property
    def models(self) -> dict[str, ToyNet]:
        return {PRE_TRAINED: self.before, FINE_TUNED: self.after}


def run_toy(config: ToyConfig) -> ToyResult:
    """Pre-train on the source domain, then fine-tune on the seen classes of the target domain.

    The same configuration gives the same network. Raises UserError for seen classes that do not fit and when training
    diverges. Source: the set-up of the paper's toy example; data, network and recipe are ours.
    """
    data, before = make_data(config), _pretrained(config.source)
    after = copy.deepcopy(before)
    _fit(after, data.fine_tuning, config.steps, config.lr)
    return ToyResult(config, data, before, after)
