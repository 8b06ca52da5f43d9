"""`folder`: the images of a manifest that lists image files."""

import hashlib

import torch

from ..core import paths
from ..core.errors import UserError
from ..core.progress import progress
from .benchmark import Benchmark
from .decode import open_picture
from .manifest import Manifest


def decode_folder(manifest: Manifest) -> torch.Tensor:
    """Decode the image files in the folder that the head's `source` names, (N, 3, S, S) uint8.

    The shorter side is resized and the centre cropped. Raises UserError that counts and names unusable files.
    """
    from torchvision.transforms.functional import center_crop, pil_to_tensor, resize  # heavy, and only needed here

    folder = paths.image_folder(manifest.head.source)
    size = manifest.head.image_size
    images = torch.empty(len(manifest.body), 3, size, size, dtype=torch.uint8)
    bad = []
    for i, row in enumerate(progress(manifest.body.itertuples(), "decoding")):
        try:
            data = (folder / row.path).read_bytes()
            if hashlib.sha256(data).hexdigest() != row.sha256:
                raise OSError("its sha256 differs from the manifest")
            images[i] = center_crop(resize(pil_to_tensor(open_picture(data)), size, antialias=True), [size, size])
        except OSError as error:  # the reasons of open_picture are OSErrors too
            bad.append(f"{row.path} ({error.strerror or error})")
    if bad:
        raise UserError(
            f"{len(bad)} of {len(manifest.body)} images under {paths.display(folder)} cannot be used, first "
            f"{', '.join(bad[:3])}; restore them or correct {paths.display(paths.manifest_body(manifest.name))}"
        )
    return images


BENCHMARK = Benchmark(decode_folder)
