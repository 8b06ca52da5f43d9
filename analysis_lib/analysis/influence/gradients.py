"""Displacement of features by one fine-tuning step of the backbone, to first order and exactly.

f(x) are the features (N, D) that enter the head, theta all parameters except the head's (P numbers), J(x) = df/dtheta.
A step changes theta by sum_i J(x_i)^T u_i: one reverse pass over the fine-tuning batches. The features of any x' then
change by J(x') times the step: one forward-mode pass over the target batches. Memory holds one batch and a few
parameter vectors, whatever the number of samples. The kernel J(x') J(x_i)^T is never formed.

The model has timm's interface (forward_features, forward_head, get_classifier). It must be in eval mode, because
BatchNorm in train mode and dropout break the derivation. Images are prepared floats on the model's device. No function
here changes the model.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import pandas as pd
import torch
from torch import nn
from torch.func import functional_call, jvp, vjp
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...core.errors import UserError
from .head_step import feature_gradients

Step = dict[str, torch.Tensor]  # a direction in theta, under the names of model.named_parameters()


class Images(Protocol):
    """Prepared images (N, 3, H, W): a tensor, or an object with a length that returns the batch `images[rows]`."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: torch.Tensor) -> torch.Tensor: ...


class Backbone(nn.Module):
    """The features f as a function of theta, with the products of J and of its transpose with a vector."""

    def __init__(self, model: nn.Module):
        super().__init__()
        if any(module.training for module in model.modules()):
            raise UserError(
                f"this {type(model).__name__} is in train mode, where samples of a batch influence each other; call "
                "model.eval() first"
            )
        self.model = model
        head = set(model.get_classifier().parameters())
        self.theta = {name: value.detach() for name, value in model.named_parameters() if value not in head}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """f(x), (N, D)."""
        return self.model.forward_head(self.model.forward_features(x), pre_logits=True)

    def at(self, theta: Step, x: torch.Tensor) -> torch.Tensor:
        """f(x) with the parameters theta, (N, D)."""
        return functional_call(self, {f"model.{name}": value for name, value in theta.items()}, (x,))

    def push(self, x: torch.Tensor, step: Step) -> torch.Tensor:
        """J(x) step, (N, D)."""
        step = {name: step[name] for name in self.theta}  # in the order of theta, as jvp wants it
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no forward-mode derivative
            return jvp(lambda theta: self.at(theta, x), (self.theta,), (step,))[1]

    def pull_loss(self, x: torch.Tensor, labels: torch.Tensor) -> Step:
        """sum_i J(x_i)^T g_i with g_i the gradient of sample i's cross-entropy in its features."""
        features, pull = vjp(lambda theta: self.at(theta, x), self.theta)
        head = self.model.get_classifier()
        return pull(feature_gradients(head(features), labels.to(features.device), head.weight).to(features))[0]


def batches(images: Images, rows: torch.Tensor, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield row numbers and images, batch by batch."""
    yield from ((part, images[part]) for part in rows.split(batch_size))


def _check_labels(images: Images, labels: torch.Tensor) -> None:
    if labels.shape != (len(images),):
        raise UserError(f"labels have shape {tuple(labels.shape)}; expected ({len(images)},), one for each image")


def rows_by_class(images: Images, labels: torch.Tensor) -> list[torch.Tensor]:
    """The row numbers of each class of `labels`, classes ascending."""
    _check_labels(images, labels)
    return [(labels == c).nonzero().squeeze(1) for c in labels.unique()]


@torch.no_grad()
def backbone_step(
    model: nn.Module, images: Images, labels: torch.Tensor, rows: torch.Tensor | None = None, batch_size: int = 64
) -> Step:
    """The part of one SGD step on the backbone that is due to `rows`, for learning rate 1.

    It is -(1/N) sum_{i in rows} J(x_i)^T g_i, with g_i the gradient of sample i's cross-entropy in its features.

    images : (N, 3, H, W), the whole fine-tuning set; labels : (N,) int64 in 0..C-1; rows : row numbers, all when None.
    The loss is the mean cross-entropy over all N and all C classes, so the parts of disjoint rows add up. Returns one
    tensor for each backbone parameter, in its dtype. Raises UserError for a model in train mode and for labels that do
    not fit. Source: ours, after the paper's explanation by gradient similarity.
    """
    backbone, n = Backbone(model), len(images)
    _check_labels(images, labels)
    if rows is None:
        rows = torch.arange(n)
    total = {name: torch.zeros_like(value) for name, value in backbone.theta.items()}
    for part, x in batches(images, rows, batch_size):
        for name, gradient in backbone.pull_loss(x, labels[part]).items():
            total[name].sub_(gradient, alpha=1 / n)
    return total


def predicted_displacement(model: nn.Module, targets: Images, step: Step, batch_size: int = 64) -> torch.Tensor:
    """J(x') step: the displacement of the targets' features to first order, for learning rate 1.

    targets : (N', 3, H, W); step : as from `backbone_step`. Returns (N', D) in the model's dtype. Raises UserError for
    a model in train mode and for a step that is not one of its backbone. Source: forward-mode differentiation; ours.
    """
    backbone = Backbone(model)
    check_step(backbone, step)
    return torch.cat([backbone.push(x, step) for _, x in batches(targets, torch.arange(len(targets)), batch_size)])


@torch.no_grad()
def actual_displacement(
    model: nn.Module, targets: Images, step: Step, eta: float, batch_size: int = 64
) -> torch.Tensor:
    """The exact displacement f(x') at theta + eta step minus f(x') at theta: (N', D) in the model's dtype.

    Arguments and errors as in `predicted_displacement`. In float32 a small eta gives only rounding. Source: ours.
    """
    backbone = Backbone(model)
    check_step(backbone, step)
    moved = _moved_features(backbone, targets, step, eta, batch_size)
    return moved - _moved_features(backbone, targets, step, 0.0, batch_size)


def _moved_features(backbone: Backbone, targets: Images, step: Step, eta: float, batch_size: int) -> torch.Tensor:
    moved = {name: value + eta * step[name] for name, value in backbone.theta.items()}
    return torch.cat([backbone.at(moved, x) for _, x in batches(targets, torch.arange(len(targets)), batch_size)])


def check_step(backbone: Backbone, step: Step) -> None:
    """Raise UserError unless `step` has a tensor of the right shape for every parameter of the backbone."""
    shapes = {name: tuple(value.shape) for name, value in step.items()}
    wanted = {name: tuple(value.shape) for name, value in backbone.theta.items()}
    if shapes != wanted:
        odd = sorted(name for name in shapes.keys() | wanted.keys() if shapes.get(name) != wanted.get(name))
        raise UserError(
            f"the step does not fit the backbone at {odd[0]!r} ({len(odd)} of {len(wanted)} parameters); make it with "
            "the same model"
        )


@torch.no_grad()
def step_check(
    model: nn.Module, targets: Images, step: Step, etas: Sequence[float], batch_size: int = 64
) -> pd.DataFrame:
    """Compare the predicted with the actual displacement at each learning rate.

    Columns: eta; cosine, of the two displacements of all targets, flattened; relative_error, the mean over targets of
    the norm of the difference over the norm of the actual displacement, NaN if a target does not move. The error falls
    linearly with eta for a smooth network. A ReLU that changes its sign makes the error of a target jump, and fewer
    targets have one as eta falls: their mean error still falls linearly, but the norm of the error over all targets
    only with the square root of eta. Arguments and errors as in `predicted_displacement`. Source: ours.
    """
    backbone = Backbone(model)
    slope = predicted_displacement(model, targets, step, batch_size).double()
    table = []
    start = _moved_features(backbone, targets, step, 0.0, batch_size)
    for eta in etas:
        actual = (_moved_features(backbone, targets, step, eta, batch_size) - start).double()
        predicted = eta * slope
        cosine = (actual * predicted).sum() / (actual.norm() * predicted.norm())
        error = (actual - predicted).norm(dim=1) / actual.norm(dim=1)
        table.append({"eta": eta, "cosine": cosine.item(), "relative_error": error.mean().item()})
    return pd.DataFrame(table)


def class_displacements(
    model: nn.Module, images: Images, labels: torch.Tensor, targets: Images, batch_size: int = 64
) -> Iterator[torch.Tensor]:
    """a_c(x'): the first-order displacement of the targets that is due to the examples of each class c.

    images, labels : the fine-tuning set, as in `backbone_step`; targets : (N', 3, H, W). Yields (N', D) for each of the
    K classes of `labels`, ascending, so that only one is in memory. Stack them for (K, N', D); add them for the whole
    displacement. Costs N reverse and K N' forward-mode passes. Raises as `backbone_step`, when the first is requested.
    Source: ours.
    """
    for rows in rows_by_class(images, labels):
        step = backbone_step(model, images, labels, rows, batch_size)
        yield predicted_displacement(model, targets, step, batch_size)
