"""From stored uint8 images to the normalised floats that a model takes."""

import torch


def normalizer(mean, std, dtype: torch.dtype, device: torch.device):
    """A function from uint8 images (N, 3, H, W) to normalised floats on `device`, in channels-last order."""
    mean = torch.tensor(mean, dtype=torch.float64)[:, None, None]
    std = torch.tensor(std, dtype=torch.float64)[:, None, None]
    scale = (1 / (255 * std)).to(device, dtype)
    offset = (-mean / std).to(device, dtype)

    def normalize(images: torch.Tensor) -> torch.Tensor:
        moved = images.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
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
