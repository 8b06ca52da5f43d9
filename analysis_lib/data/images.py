"""From a manifest to one uint8 tensor of images, made once and then mapped from disk.

A builder turns manifest rows into images: `digits` and `emoji` make theirs from packages, `folder` decodes files.
"""

import hashlib
import io

import torch
from PIL import Image
from torchvision.transforms.functional import center_crop, pil_to_tensor, resize

from .. import paths, runtime, store
from ..errors import UserError, unknown
from .embedded import EMBEDDED
from .manifest import Manifest


def load_images(manifest: Manifest) -> torch.Tensor:
    """Images of a benchmark in manifest order, (N, 3, H, W) uint8, from its cache or built now.

    Raises UserError that counts and names the images that are missing, changed or unreadable.
    """
    if manifest.head.builder not in BUILDERS:
        raise unknown("builder", manifest.head.builder, BUILDERS)
    path = paths.image_cache(manifest.name, manifest.digest)
    with store.locked(path.stem):
        if not path.exists():
            runtime.log(f"building {len(manifest.body)} images of {manifest.name}")
            store.write_tensors(path, {"images": BUILDERS[manifest.head.builder](manifest)})
    return store.read_tensors(path)["images"]


def decode_folder(manifest: Manifest) -> torch.Tensor:
    """Decode image files under the folder named by the head's `source`: shorter side resized, centre cropped."""
    folder = paths.image_folder(manifest.head.source)
    size = manifest.head.image_size
    images = torch.empty(len(manifest.body), 3, size, size, dtype=torch.uint8)
    bad = []
    for i, row in enumerate(runtime.progress(manifest.body.itertuples(), "decoding")):
        try:
            data = (folder / row.path).read_bytes()
            if hashlib.sha256(data).hexdigest() != row.sha256:
                raise OSError("its sha256 differs from the manifest")
            picture = Image.open(io.BytesIO(data)).convert("RGB")
            images[i] = center_crop(resize(pil_to_tensor(picture), size, antialias=True), [size, size])
        except OSError as error:  # PIL's errors for damaged and truncated images are OSErrors too
            bad.append(f"{row.path} ({error.strerror or error})")
    if bad:
        raise UserError(f"{len(bad)} of {len(manifest.body)} images under {paths.shown(folder)} cannot be used, first "
                        f"{', '.join(bad[:3])}; restore them or correct {paths.shown(paths.manifest_body(manifest.name))}")
    return images


BUILDERS = {"folder": decode_folder} | {name: benchmark.build_images for name, benchmark in EMBEDDED.items()}
