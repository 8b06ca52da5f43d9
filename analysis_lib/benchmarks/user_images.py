"""Users' own labelled images: from a folder with a sub-folder for each class, a list file or a manifest.

Images are decoded in batches. A class is a name or an id; names become ids by a list of names in head order.
"""

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from ..core import paths
from ..core.errors import UserError
from .decode import open_picture
from .image_lists import Source, list_images, log_left_out, read_folder, read_list, refuse_outside
from .manifest import read_manifest


def is_manifest(path: Path) -> bool:
    """Whether a source is the head of a manifest, by its name."""
    return path.suffix.lower() == ".json" and not path.is_dir()


def open_source(path: Path, part: str) -> Source:
    """The image files of a folder, a list file, or the `train` or `test` part of a manifest, in a fixed order.

    Decodes nothing. Raises UserError if there is no image; for lines of a list that are no `relative/path label`, leave
    the list's folder or name a missing file; and for a manifest that `read_manifest` refuses or whose images are not
    the files that it lists.
    """
    if path.is_dir():
        return read_folder(path)
    if not path.is_file():
        raise UserError(
            f"there is no {paths.display(path)}; give a folder with a sub-folder for each class, a list file, a "
            "manifest, or ready logits"
        )
    if is_manifest(path):
        return _open_manifest(path, part)
    return read_list(path)


def open_unlabelled(path: Path) -> list[Path]:
    """The image files of a source whose classes are unknown or ignored, in a fixed order.

    A folder gives all images below it, with or without sub-folders; lists and manifests as `open_source`, their test
    part. Raises UserError as there.
    """
    if not path.is_dir():
        return open_source(path, "test").files
    images, left_out = list_images(path)
    log_left_out(path, left_out)
    if not images:
        raise UserError(f"{paths.display(path)} has no images; give a folder with images below it")
    refuse_outside(images, path)
    return images


def _open_manifest(path: Path, part: str) -> Source:
    manifest = read_manifest(path)
    if manifest.head.builder != "folder":
        raise UserError(
            f"the images of {paths.display(path)} are made by {manifest.head.builder!r} and are no files; give a "
            "manifest whose builder is 'folder'"
        )
    if path.resolve() == paths.manifest_head(manifest.name).resolve():
        folder = paths.image_folder(manifest.head.source)
    else:
        folder = path.resolve().parent / manifest.head.source
    body = manifest.body[manifest.body["split"] == part]
    files = [folder / name for name in body["path"]]
    changed = []
    for file, digest in zip(files, body["sha256"]):
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            changed.append(file)
    if changed:
        raise UserError(
            f"{len(changed)} of {len(files)} {part} images of {paths.display(path)} are missing or not as listed, "
            f"first {', '.join(paths.display(file) for file in changed[:3])}; restore them or correct the manifest"
        )
    refuse_outside(files, folder)
    classes = [manifest.class_names[label] for label in body["label"]]
    seen = manifest.head.seen if isinstance(manifest.head.seen, list) else ()
    return Source(files, classes, manifest.class_names, paths.display(path), seen)


def class_names(sources: Sequence[Source], num_classes: int) -> list[str]:
    """Names in head order, from the first source that has one for every output; an empty list if none has.

    Raises UserError for numbers whose alphabetical order is not their numerical order: either could be meant.
    """
    for source in sources:
        if len(source.names) == num_classes:
            if all(name.isdecimal() for name in source.names) and sorted(source.names, key=int) != source.names:
                raise UserError(
                    f"the class folders of {source.where} are numbers that sort differently as text ('10' before "
                    "'2'); say which output is which with --classes FILE, one folder name a line in head order"
                )
            return source.names
    return []


@dataclass(frozen=True)
class ImageBatches:
    """Batches (images (B, 3, H, W) float, labels (B,) int64) of image files, decoded by threads on demand.

    If images cannot be read, no batch is returned after the first of them, and a UserError at the end of the data
    counts and names them all.
    """

    files: Sequence[Path]
    labels: torch.Tensor
    transform: Callable[[Image.Image], torch.Tensor]
    batch_size: int = 32

    def __len__(self) -> int:
        return math.ceil(len(self.files) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        bad: list[str] = []
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for rows in torch.arange(len(self.files)).split(self.batch_size):
                decoded = list(pool.map(self._decode, [self.files[row] for row in rows]))
                bad += [answer for answer in decoded if isinstance(answer, str)]
                if not bad:
                    yield torch.stack(decoded), self.labels[rows]
        if bad:
            raise UserError(
                f"{len(bad)} of {len(self.files)} images cannot be read, first {', '.join(bad[:3])}; restore or "
                "remove them"
            )

    def _decode(self, file: Path) -> torch.Tensor | str:
        """The transformed image, or the reason why there is none."""
        try:
            return self.transform(open_picture(file))
        except OSError as error:
            return f"{paths.display(file)} ({error.strerror or error})"
