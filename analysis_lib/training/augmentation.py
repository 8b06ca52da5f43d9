"""Random crops and flips of a whole batch at once."""

import torch
from torch.nn import functional

from ..core.processes import share
from ..core.seeds import on_grid


def augment(
    x: torch.Tensor, scale: tuple[float, float], flip: bool, generator: torch.Generator, size: int | None = None
) -> torch.Tensor:
    """Random resized crops, and flips if `flip`, of a whole batch at once on its own device.

    x : (N, 3, H, W) float. Each crop covers a share of the area drawn from `scale`; see `draw_crops`.
    size : of the whole batch, where x is this process's share of it; each image gets the crop of a single process.
    """
    crops = draw_crops(len(x) if size is None else size, scale, flip, generator)
    if size is not None:
        crops = share().of(crops)
    grid = functional.affine_grid(crops.to(x), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def draw_crops(n: int, scale: tuple[float, float], flip: bool, generator: torch.Generator) -> torch.Tensor:
    """Random square crops inside the image, as affine maps (n, 2, 3) float64 from crop to image coordinates.

    Both coordinates run from -1 to 1. The draws come from a CPU generator and lie on a grid, so they are the same on
    every processor and GPU.
    """

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, dtype=torch.float64, generator=generator)

    side = (scale[0] + (scale[1] - scale[0]) * uniform(n)).sqrt()
    centre = (2 * uniform(n, 2) - 1) * (1 - side)[:, None]
    mirror = torch.where(uniform(n) < 0.5, -1.0, 1.0) if flip else 1.0
    crops = torch.zeros(n, 2, 3, dtype=torch.float64)
    crops[:, 0, 0], crops[:, 1, 1], crops[:, :, 2] = side * mirror, side, centre
    return on_grid(crops)
