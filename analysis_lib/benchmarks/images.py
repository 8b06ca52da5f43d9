"""The images of a manifest, and those of its source domain, as uint8 tensors: built once and then read from disk."""

import torch

from ..core import files, paths
from ..core.progress import log
from . import builder, describe
from .manifest import SOURCE, Manifest


def load_images(manifest: Manifest) -> torch.Tensor:
    """Images of a benchmark in manifest order, (N, 3, H, W) uint8, from the cache or built now.

    Raises UserError that counts and names the images that are missing, changed or unreadable.
    """
    build = builder(manifest.head.builder).build_images
    path = paths.image_cache(manifest.name, manifest.digest)
    with files.locked(path.stem):
        if not path.exists():
            log(f"building {len(manifest.body)} images of {manifest.name}")
            files.write_tensors(path, {"images": build(manifest)})
    return files.read_tensors(path)["images"]


def source_images(manifest: Manifest) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
    """Images (N, 3, H, W) uint8, labels (N,) int64 and the row numbers of the source domain, or None if it has none."""
    build = describe(manifest.name).source_images
    if build:
        images, labels = build()
        return images, labels, torch.arange(len(labels))
    rows = manifest.rows(SOURCE)
    return (load_images(manifest), manifest.labels, rows) if len(rows) else None
