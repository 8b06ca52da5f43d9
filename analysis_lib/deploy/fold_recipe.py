"""The recipe by which folds are fine-tuned: a user's own numbers, and random crops and flips."""

import math
from dataclasses import dataclass

import torch

from ..core.errors import UserError
from ..training.augmentation import augment
from ..training.optimizers import check_optimizer


@dataclass(frozen=True)
class FoldRecipe:
    """How the folds are fine-tuned: give the numbers of your own fine-tuning.

    epochs, lr : the learning rate falls to 0 as a cosine over all steps.
    optimizer : any name of timm's; `sgd` takes Nesterov's momentum.
    crop_scale : the smallest and the largest share of the area that a random crop covers; None for no crops.
    flip : whether images are mirrored at random.

    Raises UserError for numbers that no training can take, and for an unknown optimiser.
    """

    epochs: int
    lr: float
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch_size: int = 32
    crop_scale: tuple[float, float] | None = (0.7, 1.0)
    flip: bool = True

    def __post_init__(self):
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} of the folds is {getattr(self, name)}; give a positive number")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise UserError(f"lr of the folds is {self.lr}; give the positive learning rate of your fine-tuning")
        for name in ("momentum", "weight_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} of the folds is {getattr(self, name)}; give a number in [0, 1)")
        if self.crop_scale and not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise UserError(
                f"crop_scale of the folds is {self.crop_scale}; give two shares in (0, 1], the smaller first"
            )
        check_optimizer(self.optimizer)

    def augmented(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Random crops and flips of a batch (N, C, H, W) float, as the recipe says."""
        if not self.crop_scale and not self.flip:
            return x
        if x.ndim != 4 or not x.is_floating_point():
            raise UserError(
                f"random crops take float images (N, C, H, W) and the loader gives {x.dtype} {tuple(x.shape)}; set "
                "crop_scale=None and flip=False in the recipe"
            )
        return augment(x, self.crop_scale or (1.0, 1.0), self.flip, generator)
