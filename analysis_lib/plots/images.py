"""Contact sheets."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes


def draw_images(images: torch.Tensor, titles: Sequence[str], ax: Axes, columns: int = 8) -> Axes:
    """A contact sheet of uint8 images (N, 3, H, W) with a short title under each."""
    n, _, height, width = images.shape
    lines = -(-n // columns)
    band = round(0.3 * height)
    sheet = np.full((lines * (height + band), columns * width, 3), 255, dtype=np.uint8)
    for i, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        top, left = i // columns * (height + band), i % columns * width
        sheet[top : top + height, left : left + width] = image
        middle = left + width / 2, top + height + band / 2
        ax.text(*middle, titles[i], ha="center", va="center", fontsize=7, parse_math=False)  # a class may hold dollars
    ax.imshow(sheet)
    ax.set_axis_off()
    return ax
