"""The description of a benchmark: how its images are built, its recipes and its grids."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from .manifest import Manifest


@dataclass(frozen=True)
class Grid:
    """All pairs of learning rates and epochs at which estimators of gamma are compared.

    development : the seeds on which the estimators were chosen; they are never reported together with others.
    """

    lr: tuple[float, ...]
    epochs: tuple[int, ...]
    development: tuple[int, ...] = ()


GENTLE = {"smoke": {"epochs": 1, "lr": 5e-3}, "default": {"epochs": 5, "lr": 5e-3}, "full": {"epochs": 5, "lr": 5e-3}}


@dataclass(frozen=True)
class Benchmark:
    """Everything about a benchmark that is not in its manifest.

    build_images : from a manifest to its images (N, 3, H, W) uint8.
    make_manifest : writes the manifest again, if it can be made here.
    source_images : images and labels of the source domain, if they are made here and are no rows of the manifest.
    source_recipe : the RunSpec fields of the training of the starting network on all classes of the source domain.
    recipes : the RunSpec fields of each profile: epochs, lr, and any other that differs from its default, such as
    `backbone_lr_scale`, which is 0.1 in the paper's code and 1 by default.
    grids : of the profiles that compare estimators at more settings than the recipe.
    method_options : of fine-tuning methods whose options here are not their defaults, as `studies.method_choice` found.
    petl_recipe, petl_rates : the RunSpec fields of the study of parameter-efficient methods, where they are not the
    recipe's, and the learning rate of each method, as `studies.petl_choice` found.
    lists_files : whether the rows of the manifest are image files, which can be read when they are needed.
    """

    build_images: Callable[[Manifest], torch.Tensor]
    make_manifest: Callable[[], None] | None = None
    source_images: Callable[[], tuple[torch.Tensor, torch.Tensor]] | None = None
    source_recipe: Mapping[str, object] = field(default_factory=lambda: {"epochs": 20, "lr": 1e-2})
    recipes: Mapping[str, dict] = field(default_factory=lambda: GENTLE)
    grids: Mapping[str, Grid] = field(default_factory=dict)
    method_options: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    petl_recipe: Mapping[str, object] = field(default_factory=dict)
    petl_rates: Mapping[str, float] = field(default_factory=dict)
    lists_files: bool = False
