"""The images of a manifest, and those of its source domain, as uint8 tensors: built once and then read from disk.

Image files that would take more memory than the budget are not built at once, but decoded when they are needed.
"""

from functools import cache

import torch

from ..core import files, paths, resources
from ..core.progress import log
from . import builder, describe
from .manifest import SOURCE, Manifest
from .stream import StreamedImages


def load_images(manifest: Manifest) -> torch.Tensor | StreamedImages:
    """Images of a benchmark in manifest order, (N, 3, H, W) uint8, from the cache or built now.

    Without a cache, image files that exceed `resources.memory_budget` are streamed: `images[rows]` then decodes them.
    Raises UserError that counts and names the images that are missing, changed or unreadable.
    """
    chosen = builder(manifest.head.builder)
    path = paths.image_cache(manifest.name, manifest.digest)
    with files.locked(path.stem):
        if not path.exists():
            if chosen.lists_files and _exceeds_budget(manifest):
                return StreamedImages(manifest)
            log(f"building {len(manifest.body)} images of {manifest.name}")
            files.write_tensors(path, {"images": chosen.build_images(manifest)})
    return files.read_tensors(path)["images"]


def _exceeds_budget(manifest: Manifest) -> bool:
    """Whether the decoded images exceed the memory budget. If so, it says so once."""
    size, budget = 3 * manifest.head.image_size**2 * len(manifest.body), resources.memory_budget()
    if size > budget:
        _say_once(
            f"the images of {manifest.name} are streamed from disk: decoded they take {size / 2**30:.1f} GiB, and the "
            f"memory budget is {budget / 2**30:.1f} (set another with --memory-budget or {resources.BUDGET})"
        )
    return size > budget


@cache
def _say_once(line: str) -> None:
    log(line)


def source_images(manifest: Manifest) -> tuple[torch.Tensor | StreamedImages, torch.Tensor, torch.Tensor] | None:
    """Images (N, 3, H, W) uint8, labels (N,) int64 and the row numbers of the source domain, or None if it has none."""
    build = describe(manifest.name).source_images
    if build:
        images, labels = build()
        return images, labels, torch.arange(len(labels))
    rows = manifest.rows(SOURCE)
    return (load_images(manifest), manifest.labels, rows) if len(rows) else None
