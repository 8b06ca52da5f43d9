"""`folder`: the images of a manifest that lists image files."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from ..core import external_files, paths
from ..core.errors import UserError
from ..core.progress import progress
from .benchmark import Benchmark
from .decode import open_picture
from .image_lists import refuse_outside
from .manifest import Manifest

CHUNK = 64  # images that are decoded at once


def read_image(path: Path, sha256: str, size: int, stretched: bool = False) -> torch.Tensor:
    """One image file as (3, size, size) uint8: the shorter side is resized and the centre cropped, or all is stretched.

    Raises OSError for a file that cannot be read, that is no image, or whose hash is another one.
    """
    from torchvision.transforms.functional import center_crop, pil_to_tensor, resize  # heavy, and only needed here

    data = external_files.read_bytes(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise OSError("its sha256 differs from the manifest")
    square = [size, size]
    resized = resize(pil_to_tensor(open_picture(data)), square if stretched else size, antialias=True)
    return center_crop(resized, square)


def read_images(
    folder: Path, files: Sequence[tuple[str, str]], size: int, stretched: bool = False
) -> tuple[torch.Tensor, list[str]]:
    """Image files by path in `folder` and sha256: (n, 3, size, size) uint8, and what is wrong with the unusable ones.

    The images of unusable files are left as they came from memory.
    """
    images, bad = torch.empty(len(files), 3, size, size, dtype=torch.uint8), []
    for i, (path, sha256) in enumerate(files):
        try:
            images[i] = read_image(folder / path, sha256, size, stretched)
        except OSError as error:  # the reasons of open_picture are OSErrors too
            bad.append(f"{path} ({error.strerror or error})")
    return images, bad


def listed_files(manifest: Manifest) -> list[tuple[str, str]]:
    """Path and sha256 of every row of a manifest."""
    return list(zip(manifest.body["path"], manifest.body["sha256"]))


def check_usable(manifest: Manifest, bad: Sequence[str]) -> None:
    """Raise UserError that counts and names unusable files, if there are any."""
    if bad:
        folder = paths.image_folder(manifest.head.source)
        raise UserError(
            f"{len(bad)} of {len(manifest.body)} images under {paths.display(folder)} cannot be used, first "
            f"{', '.join(bad[:3])}; restore them or correct {paths.display(paths.manifest_body(manifest.name))}"
        )


def decode_folder(manifest: Manifest) -> torch.Tensor:
    """Decode the image files in the folder that the head's `source` names, (N, 3, S, S) uint8.

    Raises UserError that counts and names unusable files, and links that lead out of the folder.
    """
    folder, files, size = paths.image_folder(manifest.head.source), listed_files(manifest), manifest.head.image_size
    refuse_outside([folder / path for path, _ in files], folder)
    images, bad = torch.empty(len(files), 3, size, size, dtype=torch.uint8), []
    for start in progress(range(0, len(files), CHUNK), "decoding"):
        rows = slice(start, start + CHUNK)
        images[rows], wrong = read_images(folder, files[rows], size, manifest.head.stretched)
        bad += wrong
    check_usable(manifest, bad)
    return images


BENCHMARK = Benchmark(decode_folder, lists_files=True)
