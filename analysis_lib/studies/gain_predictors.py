"""Predictors of which absent classes gain from fine-tuning, and the outcomes: one table for each run.

Only the baseline `start` (*oracle*) uses labels of absent classes. The other predictors use the pre-trained head, the
labelled fine-tuning data, and the test images as an unlabelled pool. In the pool, an absent class is represented by the
images with the highest pre-trained logit for it. The outcomes use the labels (*oracle*).

Predictors and outcomes that are measured on the same test images share their noise. So the test images are split in two
halves, by clusters and within classes, many times, and everything is measured on each half. All predictors use the same
splits: what they need of an image (its displacement, its tangents) is computed once. Both halves share the class means
of the training images.
"""

from dataclasses import dataclass

import pandas as pd
import torch
from torch.nn.functional import normalize

from ..analysis.influence import attribution
from ..analysis.influence.kernel import class_kernel
from ..analysis.metrics.ncm import class_means, ncm_margins, ncm_scores
from ..analysis.stats import split_half
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for
from ..runs.run_set import RunSet
from . import gradient_features

IMAGES = 3  # pool images of each absent class
SPLITS = 50  # of the test images in two halves
PREDICTORS = {
    "head_cosine": "largest cosine of the class's head row with a seen one (baseline; uses no image)",
    "feature_cosine": "largest feature cosine of its images with a seen class mean (baseline)",
    "confidence": "softmax among absent classes of its images (baseline)",
    "kernel": "largest tangent-kernel similarity of its best image with a seen class",
    "shift_agreement": "cosine of its shift from head row to features with the seen classes' mean shift",
    "start": "its NCM accuracy beforehand (oracle baseline)",
    "first_order": "first-order change of the margin to the other head rows, by the first step",
}
OUTCOMES = ("ncm_gain", "margin_gain")
MEASURES = ("start", *OUTCOMES)  # they use the labels of the test images


def by_class(runs: RunSet, spec: RunSpec) -> pd.DataFrame:
    """Predictors and outcomes of every absent class, from all its test images and from halves of them.

    Columns: images, split, half, seed, absent (class name), one for each of `PREDICTORS`, ncm_gain (change of its NCM
    accuracy among all classes) and margin_gain (change of its mean NCM margin), both *oracle*, and n, its test samples
    among the images. Rows by `images`:
    `all` : all test images; split and half are -1. Classes without test samples are left out.
    `half` : half 0 or 1 of each of SPLITS splits. Classes with a single cluster, or none, are left out.
    `swapped` : all test images, before and after exchanged for each cluster by a coin, so that nothing has happened;
    SPLITS times. Only `start` and the outcomes; the other predictors, which do not see before and after, are NaN.
    """
    test, split = runs.outputs(spec, 0, "test"), runs.split(spec)
    clusters, absent = runs.clusters(test), torch.tensor(split.absent)
    before, after = (_measured(runs, spec, epoch) for epoch in (0, spec.epochs))
    whole = torch.ones(1, len(test.labels), dtype=torch.bool)
    stream = generator_for("halves", runs.benchmark, spec.seed)
    halves = split_half.halves(clusters, test.labels, SPLITS, stream).flatten(0, 1)
    pool, own = _pool(runs, spec), (test.labels[:, None] == absent).double()
    names = [runs.manifest.class_names[c] for c in absent]

    def table(images: str, subsets: torch.Tensor, measured: dict[str, torch.Tensor]) -> pd.DataFrame:
        """One row for each subset of the test images (H, N) and each absent class."""
        number = torch.arange(len(subsets)).repeat_interleave(len(names)).numpy()
        keys = {"images": images, "split": number, "half": -1, "seed": spec.seed, "absent": names * len(subsets)}
        columns = {name: values.flatten().numpy() for name, values in measured.items()}
        return pd.DataFrame(keys | columns | {"n": (subsets.double() @ own).flatten().numpy()})

    measured = [_predictors(pool, subsets) | _measures(before, after, subsets, own) for subsets in (whole, halves)]
    frames = [table("all", whole, measured[0]).assign(split=-1), table("half", halves, measured[1])]
    frames[1]["split"], frames[1]["half"] = frames[1]["split"] // 2, frames[1]["split"] % 2
    coins = torch.randint(2, (SPLITS, int(clusters.max()) + 1), generator=generator_for("swaps", spec.run_id)).bool()
    swapped = [_measures(*_swapped(before, after, coin[clusters]), whole, own) for coin in coins]
    swapped = {name: torch.cat([each[name] for each in swapped]) for name in MEASURES}
    frames.append(table("swapped", whole.expand(SPLITS, -1), swapped))
    frame = pd.concat(frames, ignore_index=True)
    fewest = frame.groupby(["images", "absent"])["n"].transform("min")
    columns = ["images", "split", "half", "seed", "absent", *PREDICTORS, *OUTCOMES, "n"]
    return frame.loc[fewest > 0, columns].astype({"n": int}).reset_index(drop=True)


@dataclass(frozen=True)
class _Pool:
    """What the predictors need of N unlabelled images, U absent classes and feature width D.

    head_cosine (U,) : the predictor, which needs no image.
    logits (N, U) : of the absent classes; features (N, D); confidence (N, U) : softmax among the absent classes.
    nearest, kernel (N,) : the largest feature cosine, and kernel, with a seen class.
    step (N, D) : the first-order displacement.
    absent (U,), rows (C, D) : the absent classes, and the unit rows of the head.
    shift (D,) : the mean shift of the seen classes from head row to features.
    """

    head_cosine: torch.Tensor
    logits: torch.Tensor
    features: torch.Tensor
    confidence: torch.Tensor
    nearest: torch.Tensor
    kernel: torch.Tensor
    step: torch.Tensor
    absent: torch.Tensor
    rows: torch.Tensor
    shift: torch.Tensor


def _pool(runs: RunSet, spec: RunSpec) -> _Pool:
    split, test = runs.split(spec), runs.outputs(spec, 0, "test")
    own, absent = runs.fine_tuning_outputs(spec, 0), torch.tensor(split.absent)
    weight, _ = runs.head(spec, 0)
    rows = normalize(weight.double(), dim=1)
    means = class_means(own.features, own.labels, split.num_classes)
    seen = own.labels.unique()
    tangents = gradient_features.tangents(runs, spec)
    kernel, _ = class_kernel(tangents[:, test.index], tangents[:, own.index], own.labels)
    return _Pool(
        head_cosine=(rows[absent] @ rows[seen].T).amax(1),
        logits=test.logits[:, absent],
        features=test.features.double(),
        confidence=test.logits.double()[:, absent].softmax(1),
        nearest=ncm_scores(test.features, means)[:, seen].amax(1),
        kernel=kernel.amax(1),
        step=gradient_features.displacement(runs, spec),
        absent=absent,
        rows=rows,
        shift=(means[seen] - rows[seen]).mean(0),
    )


def _predictors(pool: _Pool, subsets: torch.Tensor) -> dict[str, torch.Tensor]:
    """The predictors from each of H subsets of the pool, (H, N) bool: (H, U) each."""
    chosen = []  # the images with the highest logit for each class, best first
    for subset in subsets:
        inside = subset.nonzero().squeeze(1)
        chosen.append(inside[pool.logits[inside].topk(IMAGES, dim=0).indices.T])
    best = torch.stack(chosen)  # (H, U, IMAGES)
    column = torch.arange(len(pool.absent))
    unit = normalize(pool.features, dim=1)
    shifts = [normalize(unit[images].mean(1), dim=1) - pool.rows[pool.absent] for images in best]
    pairs, place = (best * len(column) + column[:, None]).unique(return_inverse=True)
    image, class_ = pairs // len(column), pool.absent[pairs % len(column)]
    change = attribution.margin_change(pool.features[image], pool.step[image], class_, pool.rows)
    return {
        "head_cosine": pool.head_cosine.expand(len(best), -1),
        "feature_cosine": pool.nearest[best].mean(2),
        "confidence": pool.confidence[best, column[:, None]].mean(2),
        "kernel": pool.kernel[best[:, :, 0]],
        "shift_agreement": torch.stack([attribution.cosines(shift, pool.shift) for shift in shifts]),
        "first_order": change[place].mean(2),
    }


def _measured(runs: RunSet, spec: RunSpec, epoch: int) -> torch.Tensor:
    """Whether NCM is right about each test image, and its NCM margin, after an epoch: (2, N)."""
    train, test = runs.outputs(spec, epoch, "train"), runs.outputs(spec, epoch, "test")
    scores = ncm_scores(test.features, class_means(train.features, train.labels, runs.split(spec).num_classes))
    return torch.stack([(scores.argmax(1) == test.labels).double(), ncm_margins(scores, test.labels)])


def _swapped(before: torch.Tensor, after: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Before and after, (2, N) each, exchanged for the chosen images (N,)."""
    return torch.where(chosen, after, before), torch.where(chosen, before, after)


def _measures(
    before: torch.Tensor, after: torch.Tensor, subsets: torch.Tensor, own: torch.Tensor
) -> dict[str, torch.Tensor]:
    """`start` and the outcomes of each absent class in each of H subsets, (H, U) each; NaN without an image.

    before, after : `_measured`; subsets : (H, N) bool; own : (N, U), 1 for the images of each class.
    """
    inside = subsets.double()
    values = {"start": before[0], "ncm_gain": after[0] - before[0], "margin_gain": after[1] - before[1]}
    return {name: (inside * value) @ own / (inside @ own) for name, value in values.items()}
