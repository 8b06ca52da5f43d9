"""`imagenet-s`: from photographs to sketches of the 1000 ImageNet classes, by the paper's protocol.

Where: the ImageNet-Sketch project ("Learning Robust Global Representations by Penalizing Local Predictive Power", Wang
et al., NeurIPS 2019), under the MIT licence; the pictures themselves belong to their makers. Tree:
<folder>/<WordNet id>/<image>, 1000 class folders; the archive unpacks as `sketch`.
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
    name="imagenet-s",
    title="ImageNet-Sketch",
    letter="S",
    classes=1000,
    counts=Counts(40889, 20444, 10000, 5000, 5000),
    origin=origin("ImageNet-Sketch", "H. Wang, S. Ge, E. Xing, Z. Lipton", "MIT; the pictures belong to their makers"),
)


def collect(folder: Path, lists: Path | None = None) -> Collection:
    """The images of ImageNet-Sketch. Arguments and errors as `imagenet.collect`."""
    return collect_renditions(RENDITIONS, folder, lists, RENDITIONS.classes)


BENCHMARK = Benchmark(decode_folder, recipes=with_paper(rounds=50, weight_decay=1e-4))
