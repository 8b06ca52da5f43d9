"""From stored uint8 images to the normalised floats that a model takes."""

import torch

from ..core.device import free_memory, to_device
from .stream import StreamedImages

SHARE = 0.3  # of a GPU's free memory, for the images; the rest is for the training


def resident(images: torch.Tensor | StreamedImages, device: torch.device) -> torch.Tensor | StreamedImages:
    """The uint8 images on the device if they fit into a share of its free memory, else where they are.

    Batches of resident images are indexed, normalised and augmented on the device; others are copied there one by one.
    """
    fits = isinstance(images, torch.Tensor) and images.nbytes <= SHARE * free_memory(device)
    return images.to(device) if fits else images


def normalizer(mean, std, dtype: torch.dtype, device: torch.device):
    """A function from uint8 images (N, 3, H, W) to normalised floats on `device`, in channels-last order."""
    mean = torch.tensor(mean, dtype=torch.float64)[:, None, None]
    std = torch.tensor(std, dtype=torch.float64)[:, None, None]
    scale = (1 / (255 * std)).to(device, dtype)
    offset = (-mean / std).to(device, dtype)

    def normalize(images: torch.Tensor) -> torch.Tensor:
        moved = to_device(images, device).contiguous(memory_format=torch.channels_last)
        return moved.to(dtype).mul_(scale).add_(offset)

    return normalize


class PreparedImages:
    """The rows `index` of uint8 images, normalised batch by batch on access, as `influence.gradients` takes them."""

    def __init__(self, images: torch.Tensor, index: torch.Tensor, normalize):
        self.images, self.index, self.normalize = images, index, normalize

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: torch.Tensor) -> torch.Tensor:
        return self.normalize(self.images[self.index[rows]])
