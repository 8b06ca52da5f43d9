"""`imagenet-r`: from photographs to renditions of 200 ImageNet classes, by the paper's protocol.

Where: the ImageNet-R project ("The Many Faces of Robustness", Hendrycks et al., ICCV 2021), under the MIT licence; the
pictures themselves belong to their makers. Tree: <folder>/<WordNet id>/<image>, 200 class folders; the archive unpacks
as `imagenet-r`.
"""

from pathlib import Path

from .benchmark import Benchmark
from .collection import Collection, origin
from .folder import decode_folder
from .imagenet import Renditions
from .imagenet import collect as collect_renditions
from .paper_recipe import with_paper
from .published import Counts

RENDITIONS = Renditions(
    name="imagenet-r",
    title="ImageNet-R",
    letter="R",
    classes=200,
    counts=Counts(24076, 12567, 5924, 3100, 2824),
    origin=origin("ImageNet-R", "D. Hendrycks et al.", "MIT; the pictures belong to their makers"),
)


def collect(folder: Path, lists: Path | None = None, columns: int = RENDITIONS.classes) -> Collection:
    """The images of ImageNet-R, scored over its own 200 classes or, with `columns` 1000, over all of ImageNet-1k.

    Arguments and errors as `imagenet.collect`.
    """
    return collect_renditions(RENDITIONS, folder, lists, columns)


BENCHMARK = Benchmark(decode_folder, recipes=with_paper(rounds=50, weight_decay=1e-4))
