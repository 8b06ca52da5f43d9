"""Images of a benchmark as PNG files, a folder for each class, and torchvision's way of reading them."""

from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from analysis_lib.benchmarks.manifest import Head


def write_pngs(folder: Path, images: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor) -> None:
    """Write the rows of the (N, 3, H, W) uint8 images; `ImageFolder` lists them by label, then by row."""
    for row in rows.tolist():
        path = folder / f"{labels[row]:04}" / f"{row:06}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(images[row].permute(1, 2, 0).numpy()).save(path)


def normalized(head: Head) -> transforms.Compose:
    """From an image to the floats that the model takes."""
    return transforms.Compose([transforms.ToTensor(), transforms.Normalize(head.mean, head.std)])


def loader(folder: str, transform, batch_size: int, workers: int, shuffle: bool) -> DataLoader:
    """Batches of the files; its workers stay between epochs."""
    images = ImageFolder(folder, transform)
    # a spawned process would spawn its workers too, where a plain script forks them
    forked = {"num_workers": workers, "persistent_workers": True, "multiprocessing_context": "fork"} if workers else {}
    return DataLoader(images, batch_size, shuffle, **forked)
