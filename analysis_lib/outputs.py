"""What one checkpoint says about one part of the data: features and logits, in one pass.

Letters: N samples, C classes, D feature width.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from . import models, runtime, store


@dataclass(frozen=True)
class Outputs:
    """features (N, D), logits (N, C), labels (N,) int64, index (N,) int64: rows of the manifest."""

    features: torch.Tensor
    logits: torch.Tensor
    labels: torch.Tensor
    index: torch.Tensor

    def where(self, rows: torch.Tensor) -> "Outputs":
        """The rows of a bool mask or an index."""
        return Outputs(self.features[rows], self.logits[rows], self.labels[rows], self.index[rows])


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


@torch.inference_mode()
def extract(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, index: torch.Tensor, normalize, batch_size: int = 64) -> Outputs:
    """Outputs of `model` in eval mode, without augmentation, for the rows `index` of the uint8 images, on the CPU."""
    model.eval()
    parts = [models.features_and_logits(model, normalize(images[rows]))
             for rows in runtime.progress(index.split(batch_size), "extracting")]
    features, logits = (torch.cat([part[i].cpu() for part in parts]) for i in (0, 1))
    return Outputs(features, logits, labels[index], index)


def save_outputs(path: Path, outputs: Outputs) -> None:
    """Write Outputs as safetensors."""
    store.write_tensors(path, vars(outputs))


def load_outputs(path: Path) -> Outputs:
    """Read Outputs back. Raises UserError when they are absent or damaged."""
    return Outputs(**store.read_tensors(path))
