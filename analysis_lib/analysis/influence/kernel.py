"""The gradient-similarity kernel between targets and fine-tuning examples."""

import torch
from torch import nn

from ...core.errors import UserError
from .gradients import Backbone, Images, batches, rows_by_class


@torch.no_grad()
def class_kernel(
    model: nn.Module,
    images: Images,
    labels: torch.Tensor,
    targets: Images,
    probes: torch.Tensor,
    memory: int = 2**31,
    batch_size: int = 64,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The scalar kernel k(x', x_i) = tr(J(x') J(x_i)^T) / D, averaged over the examples of each class.

    images : (N, 3, H, W); labels : (N,) any grouping, `torch.arange(N)` for single samples; targets : (N', 3, H, W);
    probes : (R, D) with R > 1 rows v ~ N(0, I). Each gives the unbiased estimate <J(x')^T v, mean_i J(x_i)^T v> / D.
    Returns the mean over probes and its standard error, both (N', K) float64 on the CPU; columns are the classes of
    `labels`, ascending. Costs R (N + N') reverse passes if K parameter vectors fit into `memory` bytes; if only H of
    them fit (one always does), R (N + ceil(K / H) N'). `normalized_kernel` normalises the result. Raises UserError for
    a model in train mode, and for labels or probes that do not fit. Source: Hutchinson's trace estimator; one reverse
    pass for a whole class is ours.
    """
    backbone, classes = Backbone(model), rows_by_class(images, labels)
    _check_probes(model, probes)
    draws = torch.empty(len(probes), len(targets), len(classes), dtype=torch.float64)
    parameters = list(backbone.theta.values())
    size = sum(parameter.numel() for parameter in parameters)
    held = max(1, memory // (size * parameters[0].element_size()))  # classes whose mean gradient fits into memory
    means = parameters[0].new_empty(min(held, len(classes)), size)
    for first in range(0, len(classes), held):
        block = classes[first : first + held]
        for draw, probe in zip(draws, probes):
            means.zero_()
            for mean, rows in zip(means, block):
                for _, x in batches(images, rows, batch_size):
                    mean.add_(backbone.pull_probe(x, probe), alpha=1 / len(rows))
            for row, x in batches(targets, torch.arange(len(targets)), 1):
                products = means[: len(block)] @ backbone.pull_probe(x, probe)
                draw[row, first : first + held] = (products / len(probe)).double().cpu()
    return _mean_and_error(draws)


@torch.no_grad()
def self_kernel(model: nn.Module, images: Images, probes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """k(x, x) = E ||J(x)^T v||^2 / D of each image: the mean over probes and its standard error.

    Both are (N,) float64 on the CPU. images : (N, 3, H, W); probes : (R, D) as in `class_kernel`. With the same probes
    as there, the normalised estimate lies within -1..1. Costs N forward and R N backward passes. Errors as in
    `class_kernel`. Source: ours.
    """
    backbone = Backbone(model)
    _check_probes(model, probes)
    draws = torch.empty(len(probes), len(images), dtype=torch.float64)
    for row, x in batches(images, torch.arange(len(images)), 1):
        for draw, pulled in zip(draws, backbone.pull_probes(x, probes)):
            draw[row] = (pulled.square().sum() / probes.shape[1]).double().cpu()
    return _mean_and_error(draws)


def _check_probes(model: nn.Module, probes: torch.Tensor) -> None:
    width = model.get_classifier().in_features
    if probes.ndim != 2 or probes.shape[1] != width or len(probes) < 2:
        raise UserError(f"probes have shape {tuple(probes.shape)}; expected (R, {width}) with at least two rows")


def _mean_and_error(draws: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean over the first dimension and its standard error."""
    return draws.mean(0), draws.std(0) / len(draws) ** 0.5


def normalized_kernel(
    kernel: torch.Tensor, targets_self: torch.Tensor, images_self: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """The class kernel divided by sqrt(k(x', x') mean_{i in c} k(x_i, x_i)): 0 for orthogonal gradients, at most 1.

    kernel : (N', K) from `class_kernel`; targets_self : (N',) and images_self : (N,) from `self_kernel`; labels : (N,)
    of the images. Returns (N', K). Raises UserError when the classes of the labels are not the K columns. Source: ours.
    """
    classes, column = labels.unique(return_inverse=True)
    if kernel.shape != (len(targets_self), len(classes)):
        raise UserError(
            f"the kernel has shape {tuple(kernel.shape)}; expected {(len(targets_self), len(classes))}, targets by "
            "classes of the labels"
        )
    own = images_self.new_zeros(len(classes)).index_add(0, column, images_self) / column.bincount()
    return kernel / (targets_self[:, None] * own).sqrt()
