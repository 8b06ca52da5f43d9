"""The images of a manifest as one uint8 tensor, built once and then read from disk."""

import torch

from ..core import files, paths
from ..core.progress import log
from . import builder
from .manifest import Manifest


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
