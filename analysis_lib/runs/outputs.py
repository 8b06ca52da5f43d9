"""Features and logits of one checkpoint on the train or test images.

Letters: N samples, C classes, D feature width.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..benchmarks.stream import StreamedImages, in_order
from ..core import files
from ..core.processes import share, total
from ..core.progress import progress
from ..models import backbone


@dataclass(frozen=True)
class Outputs:
    """Features (N, D), logits (N, C) and labels (N,) int64 of images, and their rows in the manifest, index (N,)
    int64."""

    features: torch.Tensor
    logits: torch.Tensor
    labels: torch.Tensor
    index: torch.Tensor

    def where(self, rows: torch.Tensor) -> "Outputs":
        """The rows of a bool mask or an index."""
        return Outputs(self.features[rows], self.logits[rows], self.labels[rows], self.index[rows])


@torch.inference_mode()
def extract(
    model: nn.Module,
    images: torch.Tensor | StreamedImages,
    labels: torch.Tensor,
    index: torch.Tensor,
    normalize,
    batch_size: int = 128,
) -> Outputs:
    """Outputs of `model` in eval mode, without augmentation, for the rows `index` of the uint8 images, on the CPU."""
    model.eval()
    parts, done = index.split(batch_size), 0
    for batch in progress(in_order(images, parts), "extracting", len(parts)):
        found = backbone.features_and_logits(model, normalize(batch))
        if not done:  # only now the widths are known
            features, logits = (each.new_empty(len(index), each.shape[1], device="cpu") for each in found)
        rows = slice(done, done + len(batch))
        features[rows], logits[rows] = found
        done += len(batch)
    return Outputs(features, logits, labels[index], index)


def extract_together(
    model: nn.Module, images: torch.Tensor | StreamedImages, labels: torch.Tensor, index: torch.Tensor, normalize
) -> Outputs:
    """`extract`, where processes that train together each compute their share of the rows; all return all of them."""
    if len(index) < share().world:  # too few to divide
        return extract(model, images, labels, index, normalize)
    own = extract(model, images, labels, share().of(index), normalize)
    return Outputs(_whole(own.features, len(index)), _whole(own.logits, len(index)), labels[index], index)


def _whole(own: torch.Tensor, n: int) -> torch.Tensor:
    """The rows of all processes (n, ...) from every process's share of them."""
    if len(own) == n:
        return own
    rows = own.new_zeros(n, *own.shape[1:])
    share().of(rows).copy_(own)
    return total(rows)


def save_outputs(path: Path, outputs: Outputs) -> None:
    """Write Outputs as safetensors."""
    files.write_tensors(path, vars(outputs))


def load_outputs(path: Path) -> Outputs:
    """Read Outputs, mapped into memory. Raises UserError if they are absent or damaged."""
    return Outputs(**files.read_tensors(path))
