"""The first fine-tuning step of a run: the displacement of absent-class features, divided by the seen classes.

All is measured at the pre-trained network, in eval mode, with the whole fine-tuning set as one batch and without
augmentation, on a sample of absent-class test images, the *targets*. The null is the same step with permuted labels:
it sees the same images and as many labels of each class, but not which image is which. The expensive part is computed
once and cached.
"""

from dataclasses import dataclass

import pandas as pd
import torch

from ..analysis.influence import attribution, gradients, head_step
from ..analysis.influence.kernel import class_kernel
from ..analysis.metrics.ncm import class_means, ncm_margins, ncm_scores
from ..analysis.stats.intervals import estimate, leave_one_out
from ..benchmarks.images import source_images
from ..core import files, paths
from ..core.progress import progress
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for
from ..runs.execute import load_before_after
from ..runs.outputs import Outputs, extract
from ..runs.run_set import RunSet
from . import gradient_features

TARGETS = 24  # absent test samples drawn, and as many seen ones
TOP = 5  # number of most similar seen classes whose share of the displacement is measured


@dataclass(frozen=True)
class Explanation:
    """The first step of a run, for T targets, K seen classes and feature width D.

    rows, seen_rows (T,) : of the targets, and of the seen samples beside them, in the test Outputs.
    classes (K,) : the seen classes, ascending.
    pulls (K, T, D) : a_c(x'), the displacement of each target due to each seen class, for learning rate 1.
    permuted, seen_permuted (T, D) : the displacement of the targets and of the seen samples by the step with permuted
    labels, for learning rate 1.
    """

    rows: torch.Tensor
    seen_rows: torch.Tensor
    classes: torch.Tensor
    pulls: torch.Tensor
    permuted: torch.Tensor
    seen_permuted: torch.Tensor

    @property
    def step(self) -> torch.Tensor:
        """(T, D): the whole first-order displacement for learning rate 1."""
        return self.pulls.sum(0)


def explain(runs: RunSet, spec: RunSpec) -> Explanation:
    """The explanation of a run, computed on first use and cached."""
    path = paths.run_first_step(spec.run_id, TARGETS)
    return Explanation(**files.cached(path, lambda: vars(_compute(runs, spec))))


def _compute(runs: RunSet, spec: RunSpec) -> Explanation:
    before, _ = load_before_after(spec, runs.device)
    device = next(before.parameters()).device
    own, test = runs.fine_tuning_outputs(spec, 0), runs.outputs(spec, 0, "test")
    seen = runs.split(spec).is_seen(test.labels)
    rows = _drawn(~seen, "targets", runs.benchmark, spec.seed)
    seen_rows = _drawn(seen, "seen targets", runs.benchmark, spec.seed)
    tuning = runs.prepared(spec, own.index, device)
    targets = runs.prepared(spec, test.index[rows], device)
    classes = own.labels.unique()
    displacements = gradients.class_displacements(before, tuning, own.labels, targets)
    pulls = torch.stack([pull.cpu() for _, pull in zip(progress(classes, "seen classes"), displacements)])
    order = torch.randperm(len(own.labels), generator=generator_for("permuted labels", runs.benchmark, spec.seed))
    step = gradients.backbone_step(before, tuning, own.labels[order])
    both = runs.prepared(spec, test.index[torch.cat([rows, seen_rows])], device)
    permuted = gradients.predicted_displacement(before, both, step).cpu()
    return Explanation(
        rows=rows,
        seen_rows=seen_rows,
        classes=classes,
        pulls=pulls,
        permuted=permuted[: len(rows)],
        seen_permuted=permuted[len(rows) :],
    )


def _drawn(mask: torch.Tensor, *stream: object) -> torch.Tensor:
    """TARGETS of the rows of a bool mask, drawn by a named seed."""
    rows = mask.nonzero().squeeze(1)
    return rows[torch.randperm(len(rows), generator=generator_for(*stream))[:TARGETS]]


def kernel(runs: RunSet, spec: RunSpec) -> tuple[torch.Tensor, torch.Tensor]:
    """`class_kernel` of the targets with the seen classes, and its standard error: (T, K) each."""
    found, own = explain(runs, spec), runs.fine_tuning_outputs(spec, 0)
    tangents, index = gradient_features.tangents(runs, spec), runs.outputs(spec, 0, "test").index[found.rows]
    return class_kernel(tangents[:, index], tangents[:, own.index], own.labels)


def step_check(runs: RunSet, spec: RunSpec, steps: int = 8) -> pd.DataFrame:
    """Compare the predicted with the actual displacement of the absent test samples after one step (M1).

    It is `gradients.step_check` at the run's learning rate, a quarter of it, and so on, with a column seed.
    """
    before, _ = load_before_after(spec, runs.device)
    device = next(before.parameters()).device
    test = runs.outputs(spec, 0, "test")
    index = test.index[~runs.split(spec).is_seen(test.labels)]
    step = gradient_features.first_step(runs, spec)
    etas = [spec.lr / 4**k for k in range(steps)]
    return gradients.step_check(before, runs.prepared(spec, index, device), step, etas).assign(seed=spec.seed)


def influences(runs: RunSet, spec: RunSpec) -> pd.DataFrame:
    """The contribution of every seen class to the displacement of every target, and their similarity before.

    Columns: seed, target (row of the manifest), absent, seen (class names), pull (||a_c||, for learning rate 1),
    kernel, kernel_error, feature_cosine (of the target with the seen class's mean), direction (cosine of a_c with minus
    the mean feature gradient of class c; 1 if the kernel is a multiple of the identity).
    """
    found, own = explain(runs, spec), runs.fine_tuning_outputs(spec, 0)
    test = runs.outputs(spec, 0, "test").where(found.rows)
    means = class_means(own.features, own.labels, runs.split(spec).num_classes)
    cosine = ncm_scores(test.features, means)[:, found.classes]
    weight, _ = runs.head(spec, 0)
    slopes = head_step.feature_gradients(own.logits, own.labels, weight)
    mean_slopes = torch.stack([slopes[own.labels == c].mean(0) for c in found.classes])
    direction = attribution.cosines(found.pulls, -mean_slopes[:, None]).T
    names = runs.manifest.class_names
    similarity, error = kernel(runs, spec)
    n_targets, n_classes = similarity.shape
    return pd.DataFrame(
        {
            "seed": spec.seed,
            "target": test.index.repeat_interleave(n_classes),
            "absent": [names[y] for y in test.labels.repeat_interleave(n_classes)],
            "seen": [names[c] for c in found.classes.repeat(n_targets)],
            "pull": found.pulls.norm(dim=2).T.flatten(),
            "kernel": similarity.flatten(),
            "kernel_error": error.flatten(),
            "feature_cosine": cosine.flatten(),
            "direction": direction.flatten(),
        }
    )


def targets(runs: RunSet, spec: RunSpec) -> pd.DataFrame:
    """Concentration, direction and effect of the first-order displacement, with one row per target.

    Columns, with d the first-order displacement of a target for learning rate 1:
    seed, target (row of the manifest), absent (class name);
    share_kernel, share_cosine : the share of sum_c ||a_c|| of the TOP classes by kernel and by feature cosine (M4), and
    share_chance, its value for random classes;
    rank_kernel, rank_cosine : Spearman's correlation over seen classes of ||a_c|| with the kernel and with the feature
    cosine, each relative to the class's mean over targets, because large and badly fitted classes move every target;
    margin_change : of the NCM margin by d (M6, *oracle*); margin_gain : its change by the whole fine-tuning;
    nearest_seen : the largest feature cosine with a seen class;
    lasting : the cosine of d with the displacement by the whole fine-tuning;
    lasting_permuted, margin_change_permuted : the same of the displacement by the step with permuted labels, the null;
    lasting - lasting_permuted, margin_change - margin_change_permuted : what d has over the null;
    common : the mean cosine of d with that of the other targets (M7);
    along_shift : the cosine of d with `domain_shift`, NaN without source images;
    head_offset : `head_step.head_offset` (M8).
    """
    found, split = explain(runs, spec), runs.split(spec)
    own = runs.fine_tuning_outputs(spec, 0)
    start, margin_start, means = _margins(runs, spec, 0, found.rows)
    end, margin_end, _ = _margins(runs, spec, spec.epochs, found.rows)
    sizes = found.pulls.norm(dim=2).T
    top = min(TOP, len(found.classes))
    own_means = class_means(own.features, own.labels, split.num_classes)
    cosine = ncm_scores(start.features, own_means)[:, found.classes]
    unit = torch.nn.functional.normalize(found.step.double(), dim=1)
    weight_step, bias_step = head_step.head_step(own.features, own.logits, own.labels)
    similarity, _ = kernel(runs, spec)
    whole = end.features - start.features
    lasting, lasting_permuted = attribution.cosines(found.step, whole), attribution.cosines(found.permuted, whole)
    change, change_permuted = (
        attribution.margin_change(start.features, each, start.labels, means) for each in (found.step, found.permuted)
    )
    columns = {
        "share_kernel": attribution.concentration(sizes, similarity)[:, top - 1],
        "share_cosine": attribution.concentration(sizes, cosine)[:, top - 1],
        "share_chance": torch.full((len(sizes),), top / len(found.classes)),
        "rank_kernel": attribution.rank_correlation(sizes / sizes.mean(0), similarity - similarity.mean(0)),
        "rank_cosine": attribution.rank_correlation(sizes / sizes.mean(0), cosine - cosine.mean(0)),
        "margin_change": change,
        "margin_change_permuted": change_permuted,
        "margin_change - margin_change_permuted": change - change_permuted,
        "margin_gain": margin_end - margin_start,
        "nearest_seen": cosine.amax(1),
        "lasting": lasting,
        "lasting_permuted": lasting_permuted,
        "lasting - lasting_permuted": lasting - lasting_permuted,
        "common": ((unit @ unit.sum(0)) - 1) / (len(unit) - 1),
        "along_shift": attribution.cosines(found.step, domain_shift(runs, spec)),
        "head_offset": head_step.head_offset(start.features, weight_step, bias_step, split),
    }
    names = runs.manifest.class_names
    table = {"seed": spec.seed, "target": start.index, "absent": [names[y] for y in start.labels]}
    table |= {name: value.double() for name, value in columns.items()}
    return pd.DataFrame(table)


def seen_targets(runs: RunSet, spec: RunSpec) -> pd.DataFrame:
    """How far the first step points the way for test samples of seen classes: as many as there are targets.

    Columns: seed, target (row of the manifest), seen (class name), lasting_seen and lasting_seen_permuted, the cosine
    of the displacement by the whole fine-tuning with that by the first step and by the step with permuted labels.
    """
    found = explain(runs, spec)
    start, end = (runs.outputs(spec, epoch, "test").where(found.seen_rows) for epoch in (0, spec.epochs))
    whole, step = end.features - start.features, gradient_features.displacement(runs, spec)[found.seen_rows]
    return pd.DataFrame(
        {
            "seed": spec.seed,
            "target": start.index,
            "seen": [runs.manifest.class_names[y] for y in start.labels],
            "lasting_seen": attribution.cosines(step, whole),
            "lasting_seen_permuted": attribution.cosines(found.seen_permuted, whole),
        }
    )


def _margins(runs: RunSet, spec: RunSpec, epoch: int, rows: torch.Tensor) -> tuple[Outputs, torch.Tensor, torch.Tensor]:
    """The targets' Outputs after an epoch, their NCM margins (T,), and the class means (C, D) of all training
    images."""
    train, targets = runs.outputs(spec, epoch, "train"), runs.outputs(spec, epoch, "test").where(rows)
    means = class_means(train.features, train.labels, runs.split(spec).num_classes)
    return targets, ncm_margins(ncm_scores(targets.features, means), targets.labels), means


def domain_shift(runs: RunSet, spec: RunSpec) -> torch.Tensor:
    """The mean pre-trained feature of the fine-tuning data minus that of the source images, (D,).

    NaN if the benchmark has no source images.
    """
    tuned = runs.fine_tuning_outputs(spec, 0).features.double().mean(0)
    source = source_images(runs.manifest)
    if source is None:
        return torch.full_like(tuned, torch.nan)
    images, labels, index = source
    before, _ = load_before_after(spec, runs.device)
    prepared = runs.prepared(spec, index, next(before.parameters()).device)
    outputs = extract(before, images, labels, index, prepared.normalize)
    return tuned - outputs.features.double().mean(0)


def target_means(runs: RunSet, spec: RunSpec) -> pd.DataFrame:
    """The means of `targets` and of `seen_targets`: columns metric, those of `intervals.estimate`, n_samples, n_seeds.

    The intervals leave out one class with all of its samples at a time, and say nothing about other seeds. Metrics that
    no target has are left out.
    """
    motion, tables = explain(runs, spec).step, []
    for frame, group in ((targets(runs, spec), "absent"), (seen_targets(runs, spec), "seen")):
        values = frame.drop(columns=["seed", "target", group]).dropna(axis="columns", how="all")
        classes = torch.tensor(pd.factorize(frame[group])[0])
        whole, without = leave_one_out([torch.tensor(values.to_numpy().T)], classes)
        if "common" in values:  # a mean over pairs: without a class, every target has fewer
            pairs = [attribution.mean_pairwise_cosine(motion[classes != c]) for c in classes.unique()]
            without[0, values.columns.get_loc("common")] = torch.tensor(pairs, dtype=torch.float64)
        table = estimate(whole, without).assign(n_samples=len(frame), n_seeds=1)
        table.insert(0, "metric", list(values))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
