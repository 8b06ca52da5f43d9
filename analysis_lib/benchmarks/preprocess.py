"""From stored uint8 images to what a model sees."""

import torch


def normalizer(mean, std, dtype: torch.dtype, device: torch.device):
    """A function from uint8 images (N, 3, H, W) to normalised floats on `device`, in channels-last order."""
    scale = (1 / (255 * torch.tensor(std, dtype=torch.float64))).to(device, dtype)[:, None, None]
    offset = (-torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)).to(device, dtype)[:, None, None]

    def normalize(images: torch.Tensor) -> torch.Tensor:
        moved = images.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        return moved.to(dtype).mul_(scale).add_(offset)

    return normalize


class PreparedImages:
    """Rows `index` of uint8 images as a model sees them, prepared batch by batch: what `analysis.gradients` takes."""

    def __init__(self, images: torch.Tensor, index: torch.Tensor, normalize):
        self.images, self.index, self.normalize = images, index, normalize

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: torch.Tensor) -> torch.Tensor:
        return self.normalize(self.images[self.index[rows]])
