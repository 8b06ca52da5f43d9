"""Images that are decoded from their files when they are needed, ahead of time by worker processes."""

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from ..core import paths, resources
from ..core.workers import end_with_parent
from .folder import check_usable, listed_files, read_images
from .image_lists import refuse_outside
from .manifest import Manifest

# Workers are forks of a process that has only imported these, and has no threads.
PRELOADED = ["analysis_lib.benchmarks.folder", "torchvision.transforms.functional"]


class StreamedImages:
    """The images of a manifest that lists image files, with the interface of a tensor (N, 3, S, S) uint8.

    Every file is checked against its hash whenever it is decoded. Raises UserError that names files that are missing,
    changed or unreadable.
    """

    dtype = torch.uint8

    def __init__(self, manifest: Manifest):
        self._manifest, self._listed = manifest, listed_files(manifest)
        head, folder = manifest.head, paths.image_folder(manifest.head.source)
        refuse_outside([folder / path for path, _ in self._listed], folder)
        self._reader = _Reader(folder, head.image_size, head.stretched)

    @property
    def shape(self) -> torch.Size:
        return torch.Size([len(self), 3, self._reader.size, self._reader.size])

    def __len__(self) -> int:
        return len(self._listed)

    def __getitem__(self, rows) -> torch.Tensor:
        """The images of an index, as of a tensor, decoded in this process."""
        numbers = torch.arange(len(self))[rows]
        images = self._checked(self._reader.__getitems__(self._files(numbers.flatten())))
        return images.view(*numbers.shape, *self.shape[1:])

    def read_ahead(self, batches: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """`self[rows]` for each of `batches`, decoded by worker processes while earlier batches are used."""
        forks = multiprocessing.get_context("forkserver")
        forks.set_forkserver_preload(PRELOADED)
        loader = DataLoader(
            self._reader,
            batch_sampler=map(self._files, batches),
            collate_fn=_as_it_is,
            worker_init_fn=end_with_parent,  # torch watches another process, from which it was forked
            num_workers=min(resources.worker_processes(), len(batches)),
            multiprocessing_context=forks,
            generator=torch.Generator(),  # else it would draw from the stream that dropout draws from
        )
        yield from map(self._checked, loader)

    def _files(self, numbers: torch.Tensor) -> list[tuple[str, str]]:
        return [self._listed[number] for number in numbers.tolist()]

    def _checked(self, found: tuple[np.ndarray, list[str]]) -> torch.Tensor:
        images, bad = found
        check_usable(self._manifest, bad)
        return torch.from_numpy(images)


@dataclass(frozen=True)
class _Reader:
    """Reads batches of image files; as arrays, which reach another process by a pipe and need no shared memory."""

    folder: Path
    size: int
    stretched: bool

    def __getitems__(self, listed: list[tuple[str, str]]) -> tuple[np.ndarray, list[str]]:
        images, bad = read_images(self.folder, listed, self.size, self.stretched)
        return images.numpy(), bad


def _as_it_is(batch):
    return batch


def in_order(images: torch.Tensor | StreamedImages, batches: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
    """`images[rows]` for each of `batches` of row numbers; streamed images are read ahead."""
    if isinstance(images, StreamedImages):
        yield from images.read_ahead(batches)
    else:
        yield from (images[rows] for rows in batches)
