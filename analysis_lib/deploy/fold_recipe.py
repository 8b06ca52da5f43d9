"""The recipe by which a user's model is fine-tuned: for folds, and by the verb `finetune`."""

import math
from dataclasses import dataclass

import torch

from ..core.errors import UserError
from ..core.run_spec import RunSpec
from ..methods import create_method
from ..models.petl import TECHNIQUES
from ..training.augmentation import augment
from ..training.optimizers import check_optimizer


@dataclass(frozen=True)
class FoldRecipe:
    """How a model is fine-tuned. For folds, give the numbers of your own fine-tuning.

    epochs, lr : the learning rate falls to 0 as a cosine over all steps.
    optimizer : any name of timm's; `sgd` takes Nesterov's momentum.
    crop_scale : the smallest and the largest share of the area that a random crop covers; None for no crops.
    flip : whether images are mirrored at random.
    method, options : a fine-tuning method of `METHODS`, and pairs (name, value) of its options.
    backbone_lr_scale : the learning rate of all weights but the head's, as a multiple of `lr`.

    Raises UserError for numbers that no training can take, for an unknown optimiser, method or option, and for a method
    whose inserted modules cannot be folded into a plain checkpoint.
    """

    epochs: int
    lr: float
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch_size: int = 32
    crop_scale: tuple[float, float] | None = (0.7, 1.0)
    flip: bool = True
    method: str = "finetune"
    options: tuple[tuple[str, float | str], ...] = ()
    backbone_lr_scale: float = 1.0

    def __post_init__(self):
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} of the recipe is {getattr(self, name)}; give a positive number")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise UserError(f"lr of the recipe is {self.lr}; give a positive learning rate")
        for name in ("momentum", "weight_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} of the recipe is {getattr(self, name)}; give a number in [0, 1)")
        if not 0 <= self.backbone_lr_scale < math.inf:
            raise UserError(f"backbone_lr_scale of the recipe is {self.backbone_lr_scale}; give 0 or more")
        if self.crop_scale and not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise UserError(
                f"crop_scale of the recipe is {self.crop_scale}; give two shares in (0, 1], the smaller first"
            )
        check_optimizer(self.optimizer)
        method = create_method(self.method, dict(self.options))
        if not method.folds:
            others = ", ".join(name for name, technique in TECHNIQUES.items() if technique.folds)
            raise UserError(
                f"{self.method} inserts modules that no plain checkpoint can hold; choose another, such as {others}"
            )

    def spec(self, benchmark: str, stage: str, model: str, init: str, data: str, seed: int) -> RunSpec:
        """The run by this recipe. `init` and `data` stand for the starting weights and the fine-tuning data."""
        return RunSpec(
            benchmark=benchmark,
            data=data,
            model=model,
            init=init,
            seed=seed,
            epochs=self.epochs,
            lr=self.lr,
            stage=stage,
            optimizer=self.optimizer,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            batch_size=self.batch_size,
            method=self.method,
            options=self.options,
            backbone_lr_scale=self.backbone_lr_scale,
        )

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
