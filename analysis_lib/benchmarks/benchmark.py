"""What a benchmark is: how its images come to be, its recipes and its grid."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from .manifest import Manifest


@dataclass(frozen=True)
class Grid:
    """Learning rates and epochs, each with each, over which estimators of gamma are compared on the seeds of a study.

    `development` are seeds on which the estimators were chosen, and which are never reported beside the others.
    """

    lr: tuple[float, ...]
    epochs: tuple[int, ...]
    development: tuple[int, ...] = ()


GENTLE = {"smoke": {"epochs": 1, "lr": 5e-3}, "default": {"epochs": 5, "lr": 5e-3}, "full": {"epochs": 5, "lr": 5e-3}}


@dataclass(frozen=True)
class Benchmark:
    """Everything about a benchmark that is not in its manifest.

    build_images : from a manifest to its images (N, 3, H, W) uint8; make_manifest : writes the manifest anew, where it
    can be made here; source_images : images and labels of the source domain, where the starting network is trained here;
    recipes : the RunSpec fields of each profile; grids : of the profiles that compare estimators over more than the recipe.
    """

    build_images: Callable[[Manifest], torch.Tensor]
    make_manifest: Callable[[], None] | None = None
    source_images: Callable[[], tuple[torch.Tensor, torch.Tensor]] | None = None
    recipes: Mapping[str, dict] = field(default_factory=lambda: GENTLE)
    grids: Mapping[str, Grid] = field(default_factory=dict)
