"""The toy example: four classes in the plane, pre-trained in one domain, fine-tuned on two classes of another.

The paper's coordinates and network are unknown, so this is a design of ours. Class centres stand on a circle; the
target domain is the same classes turned about the origin and shifted. Everything is float64 on the CPU and takes about
a second, so that each quantity of the suite can be seen in the plane, and so can the conditions under which it fails.
Letters: N points, C classes; S seen and U absent classes, Y both. Angles are in degrees.
"""

import copy
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy, one_hot

from .analysis.accuracy import accuracies
from .analysis.calibration import seen_absent_curve, shift_logits
from .analysis.decomposition import softmax_decomposition
from .analysis.estimators import ESTIMATORS, Evidence, estimate_gamma
from .analysis.motion import displacement
from .analysis.ncm import class_means, ncm_scores
from .errors import UserError
from .runtime import generator_for, seed_for
from .split import ClassSplit

PRE_TRAINED, FINE_TUNED = "pre-trained", "fine-tuned"
SIMILAR, DISSIMILAR = (0, 2), (0, 1)  # seen classes: every absent class lies between two of them, or beside only one


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

    The target domain is the source turned by `rotation` and then shifted by the length `shift` towards `direction`.
    Absent classes go `absent_motion` times as far: at 1 all classes share the motion, at -1 absent ones go the other way.
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
        """Raises UserError for seen classes that do not fit."""
        return ClassSplit(len(self.source.angles), self.seen)


VARIANTS = {  # one thing changed at a time
    "as designed": ToyConfig(),
    "dissimilar classes": ToyConfig(seen=DISSIMILAR),
    "absent classes stay put": ToyConfig(absent_motion=0.0),
    "absent classes go the other way": ToyConfig(absent_motion=-1.0),
    "rotation 0°": ToyConfig(rotation=0.0),
    "rotation 40°": ToyConfig(rotation=40.0),
    "learning rate × 10": ToyConfig(lr=0.1),
    "learning rate × 30": ToyConfig(lr=0.3),
}


@dataclass(frozen=True)
class Points:
    """Points x (N, 2) float64 of the plane and their labels (N,) int64."""

    x: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class ToyData:
    """Source training, target training (all classes) and target test points; `fine_tuning` is the seen part of `train`."""

    source: Points
    train: Points
    test: Points
    fine_tuning: Points


class ToyNet(nn.Module):
    """2 - width - width - 2 features - C logits, float64, with torch's own initialisation from a named stream."""

    def __init__(self, source: ToySource):
        super().__init__()
        real = {"dtype": torch.float64}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for("toy", "init", source.seed))
            self.backbone = nn.Sequential(
                nn.Linear(2, source.width, **real), nn.ReLU(),
                nn.Linear(source.width, source.width, **real), nn.ReLU(),
                nn.Linear(source.width, 2, **real),
            )
            self.head = nn.Linear(2, len(source.angles), **real)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (N, 2) and logits (N, C) of points (N, 2)."""
        features = self.backbone(x)
        return features, self.head(features)


def _draw(source: ToySource, stream: str) -> Points:
    """Fresh points of all classes in the source domain."""
    labels = torch.arange(len(source.angles)).repeat_interleave(source.per_class)
    angles = torch.tensor(source.angles, dtype=torch.float64).deg2rad()
    centres = source.radius * torch.stack([angles.cos(), angles.sin()], 1)
    noise = torch.randn(len(labels), 2, dtype=torch.float64, generator=generator_for("toy", stream, source.seed))
    return Points(centres[labels] + source.sigma * noise, labels)


def _moved(points: Points, config: ToyConfig) -> Points:
    """The same points in the target domain."""
    absent = (~config.split.is_seen(points.labels)).double()
    share = 1 + (config.absent_motion - 1) * absent
    turn = torch.polar(torch.ones_like(share), share * math.radians(config.rotation))
    shift = torch.polar(share.new_tensor(config.shift), share.new_tensor(math.radians(config.direction)))
    return Points(torch.view_as_real(torch.view_as_complex(points.x) * turn + share * shift), points.labels)


def make_data(config: ToyConfig) -> ToyData:
    """The four data sets of a configuration; configurations with the same source share all noise. Source: ours."""
    train, test = (_moved(_draw(config.source, stream), config) for stream in ("train", "test"))
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
        raise UserError(f"the toy network diverged within {steps} steps; lower the learning rate (now {lr:g})")


@functools.lru_cache(maxsize=16)
def _pretrained(source: ToySource) -> ToyNet:
    """One model per source, shared by all configurations of it: copy it before training on."""
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


@torch.no_grad()
def toy_metrics(result: ToyResult) -> pd.DataFrame:
    """Every number of the suite on the target test points: columns checkpoint, metric, value. *Oracle* where marked.

    Per checkpoint: the five head accuracies; `ncm_` the same with class means of all target training points (*oracle*);
    the softmax decomposition; `ausuc`; `gamma_<method>` of every estimator from the fine-tuning data and `gamma_star`
    (*oracle*), each with `<method>_acc_sy`, `_acc_uy` and `_acc_yy` at that gamma. Fine-tuned only: `ncm_change`, NCM
    Acc_U/Y minus that before; `motion.displacement` of the features (*oracle*); `cosine_nearest`, see `nearest_cosines`.
    Raises UserError as the estimators do.
    """
    split, data = result.config.split, result.data
    pretrained_logits = result.before(data.fine_tuning.x)[1]
    values = {name: _at_checkpoint(model, data, split, pretrained_logits) for name, model in result.models.items()}
    start, end = (model(data.test.x)[0] for model in result.models.values())
    values[FINE_TUNED] |= displacement(start, end, data.test.labels, split) | {
        "ncm_change": values[FINE_TUNED]["ncm_acc_uy"] - values[PRE_TRAINED]["ncm_acc_uy"],
        "cosine_nearest": nearest_cosines(start, end, data.test.labels, split).mean().item(),
    }
    rows = [(name, metric, value) for name, measured in values.items() for metric, value in measured.items()]
    return pd.DataFrame(rows, columns=["checkpoint", "metric", "value"])


def _at_checkpoint(model: ToyNet, data: ToyData, split: ClassSplit, pretrained_logits: torch.Tensor) -> dict[str, float]:
    """The part of `toy_metrics` that each checkpoint has."""
    features, logits = model(data.test.x)
    means = class_means(model(data.train.x)[0], data.train.labels, split.num_classes)
    probe = accuracies(ncm_scores(features, means), data.test.labels, split)
    curve = seen_absent_curve(logits, data.test.labels, split)
    evidence = Evidence(model(data.fine_tuning.x)[1], data.fine_tuning.labels, split, pretrained_logits)
    values = accuracies(logits, data.test.labels, split) | {f"ncm_{key}": value for key, value in probe.items()}
    values |= softmax_decomposition(logits, data.test.labels, split).summary() | {"ausuc": curve.ausuc}
    shifts = {method: curve.at(estimate_gamma(method, evidence)) for method in ESTIMATORS} | {"star": curve.best()}
    for method, point in shifts.items():
        values |= {f"gamma_{method}": point.gamma, f"{method}_acc_sy": point.acc_sy, f"{method}_acc_uy": point.acc_uy, f"{method}_acc_yy": point.acc_yy}
    return values


def nearest_cosines(start: torch.Tensor, end: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> torch.Tensor:
    """Whether absent samples move along with the seen class nearest to their class. *Oracle*.

    start, end : (N, D) features of the same samples; labels : (N,) int64, every class among them. Returns, for each
    sample of U, the cosine of its displacement with the mean displacement of the seen class whose mean was nearest to
    the mean of its own class at the start. Source: ours.
    """
    own = one_hot(labels, split.num_classes).to(start)
    centres, steps = (own.T @ values / own.sum(0)[:, None] for values in (start, end - start))
    seen = torch.tensor(split.seen)
    nearest = seen[torch.cdist(centres, centres[seen]).argmin(1)]
    absent = ~split.is_seen(labels)
    return cosine_similarity((end - start)[absent], steps[nearest[labels[absent]]])


def toy_grid(
    variants: Mapping[str, ToyConfig] = VARIANTS, directions: Sequence[float] = (0, 90, 180, 270), seeds: Sequence[int] = (0, 1, 2, 3)
) -> pd.DataFrame:
    """`toy_metrics` of every variant, for shifts in several directions and for several seeds.

    Columns variant, direction, seed, checkpoint, metric, value. These directions and seeds replace the variant's own;
    variants are compared on the same noise. Raises UserError as `run_toy` does. Source: ours.
    """
    tables = []
    for (name, config), direction, seed in itertools.product(variants.items(), directions, seeds):
        config = replace(config, direction=direction, source=replace(config.source, seed=seed))
        tables.append(toy_metrics(run_toy(config)).assign(variant=name, direction=direction, seed=seed))
    return pd.concat(tables, ignore_index=True)[["variant", "direction", "seed", "checkpoint", "metric", "value"]]


def toy_changes(table: pd.DataFrame) -> pd.DataFrame:
    """What fine-tuning changed in every run of `toy_grid`: columns variant, direction, seed, metric, change.

    `acc_uy`, `ncm_acc_uy` (*oracle*) and `ausuc`: fine-tuned minus pre-trained. `star_acc_uy`: Acc_U/Y of the fine-tuned
    head at gamma* (*oracle*) minus that of the pre-trained head as it is. Source: ours.
    """
    wide = table.pivot(index=["variant", "direction", "seed"], columns=["checkpoint", "metric"], values="value")
    base = {"acc_uy": "acc_uy", "star_acc_uy": "acc_uy", "ncm_acc_uy": "ncm_acc_uy", "ausuc": "ausuc"}
    changes = pd.DataFrame({metric: wide[FINE_TUNED, metric] - wide[PRE_TRAINED, before] for metric, before in base.items()})
    changes = changes.reindex(table["variant"].unique(), level="variant").reset_index()
    return changes.melt(["variant", "direction", "seed"], var_name="metric", value_name="change")


@torch.no_grad()
def decision_grid(model: ToyNet, split: ClassSplit, gamma: float, extent: float, steps: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """The predicted class on a square grid of the input plane.

    Returns the coordinates (steps,) from -extent to extent, of both axes, and the classes (steps, steps) int64 with
    rows along y, when gamma is added to the absent logits. Source: ours.
    """
    axis = torch.linspace(-extent, extent, steps, dtype=torch.float64)
    plane = torch.cartesian_prod(axis, axis).flip(1)
    return axis, shift_logits(model(plane)[1], split, gamma).argmax(1).reshape(steps, steps)
