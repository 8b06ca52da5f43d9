"""Prediction of which absent classes gain from fine-tuning: predictors before it, and outcomes after it.

Only the baseline `start` (*oracle*) uses labels of absent classes. The other predictors use the pre-trained head, the
labelled fine-tuning data, and the test images as an unlabelled pool. In the pool, an absent class is represented by the
images with the highest pre-trained logit for it. The outcomes use the labels (*oracle*).
"""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch
from torch.nn.functional import normalize

from ..analysis.influence import attribution, gradients
from ..analysis.influence.kernel import class_kernel, normalized_kernel, self_kernel
from ..analysis.metrics.feature_space import main_axes
from ..analysis.metrics.ncm import class_means, ncm_margins, ncm_scores
from ..analysis.stats.correlation import spearman_over_groups
from ..core import files, paths
from ..core.run_spec import RunSpec
from ..core.seeds import normal_draws
from ..runs.execute import load_before_after
from ..runs.run_set import FINE_TUNED, PRE_TRAINED, RunSet
from .accuracy import checkpoints_only, metrics_by_epoch

IMAGES = 3  # pool images of each absent class
EXAMPLES, PROBES = 3, 2  # fine-tuning images of each seen class, and random probes, for the kernel
PREDICTORS = {
    "head_cosine": "largest cosine of the class's head row with a seen one (baseline)",
    "feature_cosine": "largest feature cosine of its images with a seen class mean (baseline)",
    "confidence": "softmax among absent classes of its images (baseline)",
    "kernel": "largest tangent-kernel similarity of its best image with a seen class",
    "shift_agreement": "cosine of its shift from head row to features with the seen classes' mean shift",
    "start": "its NCM accuracy beforehand (oracle baseline: what is good already has less to gain)",
    "first_order": "first-order change of the margin to the other head rows, by the first step",
}
OUTCOMES = ("ncm_gain", "margin_gain")


def dissimilar_seen(runs: RunSet) -> tuple[str, ...]:
    """As many seen classes as the study has, all from one end of the main direction of the pre-trained head rows.

    This is the designed negative case: no absent class has a near seen class. Uses no data.
    """
    spec = runs.specs[0]
    weight, _ = runs.head(spec, 0)
    rows = normalize(weight.double(), dim=1)
    axes, _ = main_axes(rows)
    chosen = (rows @ axes[0]).argsort(descending=True)[: len(runs.split(spec).seen)]
    return tuple(runs.manifest.class_names[c] for c in sorted(chosen.tolist()))


def dissimilar_specs(runs: RunSet) -> list[RunSpec]:
    """The recipe and first seed of the runs, fine-tuned on `dissimilar_seen`."""
    spec = runs.specs[0]
    return [replace(spec, seen=dissimilar_seen(runs), record_every=spec.epochs)]


def dissimilar_runs(runs: RunSet) -> RunSet:
    """The runs of `dissimilar_specs`, opened for reading."""
    return replace(runs, specs=tuple(dissimilar_specs(runs)))


def by_class(runs: RunSet, spec: RunSpec) -> pd.DataFrame:
    """Predictors and outcomes of every absent class with test samples.

    Columns: seed, absent (class name), one for each of `PREDICTORS`, ncm_gain (change of its NCM accuracy among all
    classes) and margin_gain (change of its mean NCM margin), both *oracle*, and n, its test samples.
    """
    split, pool = runs.split(spec), runs.outputs(spec, 0, "test")
    own, absent = runs.fine_tuning_outputs(spec, 0), torch.tensor(split.absent)
    weight, _ = runs.head(spec, 0)
    rows = normalize(weight.double(), dim=1)
    best = pool.logits[:, absent].topk(IMAGES, dim=0).indices.T
    means = class_means(own.features, own.labels, split.num_classes)
    seen = own.labels.unique()
    features = pool.features.double()[best]
    shift_seen = (means[seen] - rows[seen]).mean(0)
    shift_own = normalize(normalize(features, dim=2).mean(1), dim=1) - rows[absent]
    nearest = ncm_scores(features.flatten(0, 1), means)[:, seen].amax(1)
    confidence = pool.logits.double()[:, absent].softmax(1)[best, torch.arange(len(absent))[:, None]]
    gradient = _gradient_features(runs, spec, best)
    steps = gradient["step"].flatten(0, 1)
    change = attribution.margin_change(features.flatten(0, 1), steps, absent.repeat_interleave(IMAGES), rows)
    table = {
        "head_cosine": (rows[absent] @ rows[seen].T).amax(1),
        "feature_cosine": nearest.unflatten(0, best.shape).mean(1),
        "confidence": confidence.mean(1),
        "kernel": gradient["kernel"].amax(1),
        "shift_agreement": attribution.cosines(shift_own, shift_seen),
        "first_order": change.unflatten(0, best.shape).mean(1),
    }
    table |= _outcomes(runs, spec, absent)
    frame = pd.DataFrame({name: values.double() for name, values in table.items()})
    frame.insert(0, "seed", spec.seed)
    frame.insert(1, "absent", [runs.manifest.class_names[c] for c in absent])
    return frame[frame["n"] > 0].astype({"n": int})


def _gradient_features(runs: RunSet, spec: RunSpec, best: torch.Tensor) -> dict[str, torch.Tensor]:
    """The features of the predictors that need gradients, computed on first use and cached.

    `step` (U, IMAGES, D) : the first-order displacement of the pool images.
    `kernel` (U, K) : the normalised kernel of each absent class's best image with each seen class.
    """

    def derive() -> dict[str, torch.Tensor]:
        before, _ = load_before_after(spec, runs.device)
        device = next(before.parameters()).device
        own, pool = runs.fine_tuning_outputs(spec, 0), runs.outputs(spec, 0, "test")
        step = gradients.backbone_step(before, runs.prepared(spec, own.index, device), own.labels)
        moved = gradients.predicted_displacement(before, runs.prepared(spec, pool.index[best.flatten()], device), step)
        some = torch.cat([(own.labels == c).nonzero().flatten()[:EXAMPLES] for c in own.labels.unique()])
        labels, tuning = own.labels[some], runs.prepared(spec, own.index[some], device)
        images = runs.prepared(spec, pool.index[best[:, 0]], device)
        probes = normal_draws((PROBES, moved.shape[1]), "probes", spec.run_id).to(moved.dtype)
        kernel, _ = class_kernel(before, tuning, labels, images, probes)
        images_self, _ = self_kernel(before, images, probes)
        tuning_self, _ = self_kernel(before, tuning, probes)
        normalized = normalized_kernel(kernel, images_self, tuning_self, labels)
        return {"step": moved.unflatten(0, best.shape), "kernel": normalized}

    return files.cached(paths.run_prediction(spec.run_id, IMAGES, EXAMPLES, PROBES), derive)


def _outcomes(runs: RunSet, spec: RunSpec, absent: torch.Tensor) -> dict[str, torch.Tensor]:
    """`start`, the outcomes and `n` of each absent class, (U,) each."""
    split = runs.split(spec)
    found = []  # for each epoch, (2, N): whether each sample is right, and its margin
    for epoch in (0, spec.epochs):
        train, test = runs.outputs(spec, epoch, "train"), runs.outputs(spec, epoch, "test")
        scores = ncm_scores(test.features, class_means(train.features, train.labels, split.num_classes))
        found.append(torch.stack([(scores.argmax(1) == test.labels).double(), ncm_margins(scores, test.labels)]))
    sizes = test.labels.bincount(minlength=split.num_classes)
    sums = torch.zeros(2, split.num_classes, dtype=torch.float64).index_add_(1, test.labels, found[1] - found[0])
    ncm_gain, margin_gain = (sums / sizes)[:, absent]
    start = torch.zeros(split.num_classes, dtype=torch.float64).index_add_(0, test.labels, found[0][0]) / sizes
    return {"start": start[absent], "ncm_gain": ncm_gain, "margin_gain": margin_gain, "n": sizes[absent]}


def correlations(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Spearman's correlation over absent classes of each predictor with each outcome, mean over seeds.

    tables : `by_class` of each seed. Columns: predictor, outcome, those of `intervals.estimate` (95 %, seeds and
    classes), n_classes (of the smallest seed), n_seeds.
    """
    names = pd.Index(pd.concat([table["absent"] for table in tables]).unique())
    items = [torch.tensor(names.get_indexer(table["absent"])) for table in tables]
    rows = []
    for predictor in PREDICTORS:
        for outcome in OUTCOMES:
            predicted = [torch.tensor(table[predictor].to_numpy()) for table in tables]
            observed = [torch.tensor(table[outcome].to_numpy()) for table in tables]
            found = spearman_over_groups(predicted, observed, items)
            rows.append({"predictor": predictor, "outcome": outcome, **found})
    return pd.DataFrame(rows).assign(n_classes=min(map(len, tables)), n_seeds=len(tables))


def compare_splits(runs: RunSet, other: RunSet) -> pd.DataFrame:
    """Random seen classes compared with the designed ones, on one seed: columns seen, metric, before, after, change.

    Metrics: `head_cosine`, the mean over absent classes of the largest head cosine with a seen class (before only), and
    acc_uy, acc_uu, ncm_acc_uy (*oracle*) and ausuc of the test samples.
    """
    first = replace(runs, specs=runs.specs[:1])
    rows = []
    for seen, one in (("random", first), ("dissimilar", other)):
        wide = checkpoints_only(one, metrics_by_epoch(one)).pivot(index="metric", columns="checkpoint", values="value")
        rows.append((seen, "head_cosine", by_class(one, one.specs[0])["head_cosine"].mean(), float("nan")))
        for metric in ("acc_uy", "acc_uu", "ncm_acc_uy", "ausuc"):
            rows.append((seen, metric, wide.loc[metric, PRE_TRAINED], wide.loc[metric, FINE_TUNED]))
    frame = pd.DataFrame(rows, columns=["seen", "metric", "before", "after"])
    return frame.assign(change=frame["after"] - frame["before"])


def both_splits(random: Sequence[pd.DataFrame], dissimilar: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """`correlations` for the random and for the designed seen classes, with a column split."""
    frames = [correlations(random).assign(split="random"), correlations(dissimilar).assign(split="dissimilar")]
    return pd.concat(frames, ignore_index=True)


def tidy(random: Sequence[pd.DataFrame], dissimilar: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """`by_class` of both kinds of seen classes in one table: columns split, seed, absent, n, quantity, value."""
    frames = [table.assign(split="random") for table in random]
    frames += [table.assign(split="dissimilar") for table in dissimilar]
    return pd.concat(frames).melt(["split", "seed", "absent", "n"], var_name="quantity", ignore_index=True)
