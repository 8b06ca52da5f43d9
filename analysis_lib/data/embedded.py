"""The benchmarks that this package makes itself: one file and one line here each."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from . import digits, emoji
from .manifest import Manifest


@dataclass(frozen=True)
class Embedded:
    """build_images : from a manifest to its images (N, 3, H, W) uint8; make_manifest : writes the manifest anew;
    source_images : images and labels of the source domain, where the starting network is trained here."""

    build_images: Callable[[Manifest], torch.Tensor]
    make_manifest: Callable[[], None]
    source_images: Callable[[], tuple[torch.Tensor, torch.Tensor]] | None = None


EMBEDDED = {
    "digits": Embedded(digits.build_images, digits.make_manifest, digits.source_images),
    "emoji": Embedded(emoji.build_images, emoji.make_manifest),
}
