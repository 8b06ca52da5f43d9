"""One target of the first step shown as an example: its image, the seen classes that move it most, and where to."""

import pandas as pd
import torch

from ..analysis.metrics.feature_space import main_axes
from ..benchmarks.images import load_images
from ..core.run_spec import RunSpec
from ..runs.run_set import RunSet
from . import first_step


def most_influential(runs: RunSet, spec: RunSpec, target: int, most: int = 3) -> tuple[torch.Tensor, list[str]]:
    """A target's image, and one image of each of the seen classes that move it most.

    target : position among the targets. The image of a class is its fine-tuning image nearest to the target in
    pre-trained features. Returns images (1 + most, 3, H, W) uint8 and their titles.
    """
    found, own = first_step.explain(runs, spec), runs.fine_tuning_outputs(spec, 0)
    test = runs.outputs(spec, 0, "test").where(found.rows)
    sizes = found.pulls[:, target].norm(dim=1)
    near = torch.nn.functional.cosine_similarity(own.features, test.features[target], dim=1)
    rows = [test.index[target]]
    titles = [f"{runs.manifest.class_names[test.labels[target]]} (absent)"]
    for k in sizes.argsort(descending=True)[:most]:
        nearest = near.masked_fill(own.labels != found.classes[k], -torch.inf).argmax()
        rows.append(own.index[nearest])
        titles.append(f"{runs.manifest.class_names[found.classes[k]]}, {sizes[k] / sizes.sum():.0%}")
    return load_images(runs.manifest)[torch.stack(rows)], titles


def plane(runs: RunSet, spec: RunSpec, target: int, most: int = 3) -> pd.DataFrame:
    """A target's displacement and the seen classes that cause most of it, in the plane of their main directions.

    Columns: what (`target`, `first step`, `fine-tuned`, or a seen class for its mean pre-trained feature on the
    fine-tuning data), x, y. The first step is scaled to the length of the whole displacement; only its direction is
    meaningful.
    """
    found, own = first_step.explain(runs, spec), runs.fine_tuning_outputs(spec, 0)
    row = found.rows[target]
    start = runs.outputs(spec, 0, "test").features[row].double()
    end = runs.outputs(spec, spec.epochs, "test").features[row].double()
    step = found.step[target].double()
    chosen = found.classes[found.pulls[:, target].norm(dim=1).argsort(descending=True)[:most]]
    names = ["target", "first step", "fine-tuned"]
    points = [start, start + step * (end - start).norm() / step.norm(), end]
    for c in chosen:
        names.append(runs.manifest.class_names[c])
        points.append(own.features[own.labels == c].double().mean(0))
    centred = torch.stack(points) - torch.stack(points).mean(0)
    axes, _ = main_axes(centred)
    return pd.DataFrame({"what": names, "x": centred @ axes[0], "y": centred @ axes[1]})
