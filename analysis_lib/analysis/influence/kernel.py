"""The gradient-similarity kernel between targets and fine-tuning examples, from random directions in parameter space.

The scalar kernel of two images is k(x', x) = tr(J(x') J(x)^T) / D. A direction r of theta with independent entries of
mean 0 and variance 1 gives the unbiased estimate <J(x') r, J(x) r> / D. J(x) r is one forward-mode pass, in batches,
and has the size of a feature: every pair of images is then a product of two short vectors, and no gradient of a single
image is ever formed. Source: Hutchinson's trace estimator, applied to J(x)^T J(x') in place of J(x') J(x)^T.
"""

from collections.abc import Sequence

import torch
from torch import nn

from ...core.errors import UserError
from .gradients import Backbone, Images, Step, batches, check_step


def random_direction(model: nn.Module, generator: torch.Generator) -> Step:
    """A direction in the parameters of the backbone whose entries are 1 or -1 with equal chance.

    generator : on the CPU; the signs do not depend on the model's device. Raises UserError for a model in train mode.
    """
    step = {}
    for name, value in Backbone(model).theta.items():
        signs = 2 * torch.randint(2, value.shape, generator=generator) - 1
        step[name] = torch.empty_like(value).copy_(signs)
    return step


@torch.no_grad()
def tangent_features(
    model: nn.Module, images: Images, directions: Sequence[Step], batch_size: int = 64
) -> torch.Tensor:
    """J(x) r of every image for each direction r: (R, N, D) in the model's dtype, on the CPU.

    images : (N, 3, H, W); directions : R steps, as from `random_direction`. Costs R N forward-mode passes. Raises
    UserError for a model in train mode and for a direction that is not one of its backbone.
    """
    backbone = Backbone(model)
    for direction in directions:
        check_step(backbone, direction)
    found = []
    for _, x in batches(images, torch.arange(len(images)), batch_size):
        found.append(torch.stack([backbone.push(x, direction).cpu() for direction in directions]))
    return torch.cat(found, dim=1)


def class_kernel(
    targets: torch.Tensor, images: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The normalised kernel of each target with each class: the estimate and its standard error.

    It is mean_{i in c} k(x', x_i) / sqrt(k(x', x') mean_{i in c} k(x_i, x_i)): 0 for orthogonal gradients, at most 1.

    targets : (R, N', D) and images : (R, N, D), `tangent_features` along the same R > 1 directions; labels : (N,) any
    grouping, `torch.arange(N)` for single images. Returns two (N', K) float64; columns are the classes of `labels`,
    ascending. The standard error is that of the numerator over the R directions. Raises UserError for shapes that do
    not fit.
    """
    if targets.ndim != 3 or len(targets) < 2 or images.shape != (len(targets), len(labels), targets.shape[2]):
        raise UserError(
            f"the tangents of targets have shape {tuple(targets.shape)}, those of {len(labels)} labelled images "
            f"{tuple(images.shape)}; expected (R, N', D) and (R, {len(labels)}, D) with R at least 2"
        )
    targets, images = targets.double(), images.double()
    classes, column = labels.unique(return_inverse=True)
    sizes = column.bincount()
    means = images.new_zeros(len(images), len(classes), images.shape[2]).index_add_(1, column, images)
    products = targets @ (means / sizes[:, None]).mT  # (R, N', K)
    own_targets = targets.square().sum(2).mean(0)
    own_images = images.square().sum(2).mean(0)
    own_classes = own_images.new_zeros(len(classes)).index_add_(0, column, own_images) / sizes
    scale = (own_targets[:, None] * own_classes).sqrt()
    return products.mean(0) / scale, products.std(0) / len(products) ** 0.5 / scale
