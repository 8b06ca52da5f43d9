"""The first fine-tuning step of a run: the displacement of absent-class features, divided by the seen classes.

All is measured at the pre-trained network, in eval mode, with the whole fine-tuning set as one batch and without
augmentation, on a sample of absent-class test images, the *targets*. The expensive part is computed once and cached.
"""

from dataclasses import dataclass

import pandas as pd
import torch

from ..analysis.influence import attribution, gradients, head_step
from ..analysis.influence.kernel import class_kernel, normalized_kernel, self_kernel
from ..analysis.metrics.feature_space import main_axes
from ..analysis.metrics.ncm import class_means, ncm_margins, ncm_scores
from ..analysis.stats.bootstrap import bootstrap_means
from ..benchmarks import source_images
from ..benchmarks.images import load_images
from ..core import files, paths
from ..core.progress import progress
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for, normal_draws
from ..runs.execute import load_before_after
from ..runs.outputs import Outputs, extract
from ..runs.run_set import RunSet

TARGETS, PROBES = 24, 3  # absent test samples drawn, and random probes of the kernel
TOP = 5  # number of most similar seen classes whose share of the displacement is measured


@dataclass(frozen=True)
class Explanation:
    """The first step of a run, for T targets, K seen classes and feature width D.

    rows (T,) : of the targets in the test Outputs.
    classes (K,) : the seen classes, ascending.
    pulls (K, T, D) : a_c(x'), the displacement of each target due to each seen class, for learning rate 1.
    kernel, kernel_error (T, K) : the normalised class kernel and its standard error over the probes.
    """

    rows: torch.Tensor
    classes: torch.Tensor
    pulls: torch.Tensor
    kernel: torch.Tensor
    kernel_error: torch.Tensor

    @property
    def step(self) -> torch.Tensor:
        """(T, D): the whole first-order displacement for learning rate 1."""
        return self.pulls.sum(0)


def explain(runs: RunSet, spec: RunSpec) -> Explanation:
    """The explanation of a run, computed on first use and cached."""
    path = paths.run_explanation(spec.run_id, TARGETS, PROBES)
    return Explanation(**files.cached(path, lambda: vars(_compute(runs, spec))))


def _compute(runs: RunSet, spec: RunSpec) -> Explanation:
    before, _ = load_before_after(spec, runs.device)
    device = next(before.parameters()).device
    rows, own = _targets(runs, spec), runs.fine_tuning_outputs(spec, 0)
    tuning = runs.prepared(spec, own.index, device)
    targets = runs.prepared(spec, runs.outputs(spec, 0, "test").index[rows], device)
    classes = own.labels.unique()
    displacements = gradients.class_displacements(before, tuning, own.labels, targets)
    pulls = torch.stack([pull.cpu() for _, pull in zip(progress(classes, "seen classes"), displacements)])
    probes = normal_draws((PROBES, pulls.shape[2]), "probes", spec.run_id).to(pulls.dtype)
    kernel, error = class_kernel(before, tuning, own.labels, targets, probes)
    targets_self, _ = self_kernel(before, targets, probes)
    tuning_self, _ = self_kernel(before, tuning, probes)
    return Explanation(
        rows=rows,
        classes=classes,
        pulls=pulls,
        kernel=normalized_kernel(kernel, targets_self, tuning_self, own.labels),
        kernel_error=normalized_kernel(error, targets_self, tuning_self, own.labels),
    )


def _targets(runs: RunSet, spec: RunSpec) -> torch.Tensor:
    """The rows of the targets in the test Outputs: absent samples drawn by a named seed."""
    labels = runs.outputs(spec, 0, "test").labels
    absent = (~runs.split(spec).is_seen(labels)).nonzero().squeeze(1)
    order = torch.randperm(len(absent), generator=generator_for("targets", runs.benchmark, spec.seed))
    return absent[order[:TARGETS]]


def step_check(runs: RunSet, spec: RunSpec, steps: int = 8) -> pd.DataFrame:
    """Compare the predicted with the actual displacement of the absent test samples after one step (M1).

    It is `gradients.step_check` at the run's learning rate, a quarter of it, and so on, with a column seed.
    """
    before, _ = load_before_after(spec, runs.device)
    device = next(before.parameters()).device
    own, test = runs.fine_tuning_outputs(spec, 0), runs.outputs(spec, 0, "test")
    index = test.index[~runs.split(spec).is_seen(test.labels)]
    step = gradients.backbone_step(before, runs.prepared(spec, own.index, device), own.labels)
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
    n_targets, n_classes = found.kernel.shape
    return pd.DataFrame(
        {
            "seed": spec.seed,
            "target": test.index.repeat_interleave(n_classes),
            "absent": [names[y] for y in test.labels.repeat_interleave(n_classes)],
            "seen": [names[c] for c in found.classes.repeat(n_targets)],
            "pull": found.pulls.norm(dim=2).T.flatten(),
            "kernel": found.kernel.flatten(),
            "kernel_error": found.kernel_error.flatten(),
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
    columns = {
        "share_kernel": attribution.concentration(sizes, found.kernel)[:, top - 1],
        "share_cosine": attribution.concentration(sizes, cosine)[:, top - 1],
        "share_chance": torch.full((len(sizes),), top / len(found.classes)),
        "rank_kernel": attribution.rank_correlation(sizes / sizes.mean(0), found.kernel - found.kernel.mean(0)),
        "rank_cosine": attribution.rank_correlation(sizes / sizes.mean(0), cosine - cosine.mean(0)),
        "margin_change": attribution.margin_change(start.features, found.step, start.labels, means),
        "margin_gain": margin_end - margin_start,
        "nearest_seen": cosine.amax(1),
        "lasting": attribution.cosines(found.step, end.features - start.features),
        "common": ((unit @ unit.sum(0)) - 1) / (len(unit) - 1),
        "along_shift": attribution.cosines(found.step, domain_shift(runs, spec)),
        "head_offset": head_step.head_offset(start.features, weight_step, bias_step, split),
    }
    names = runs.manifest.class_names
    table = {"seed": spec.seed, "target": start.index, "absent": [names[y] for y in start.labels]}
    table |= {name: value.double() for name, value in columns.items()}
    return pd.DataFrame(table)


def _margins(runs: RunSet, spec: RunSpec, epoch: int, rows: torch.Tensor) -> tuple[Outputs, torch.Tensor, torch.Tensor]:
    """The targets' Outputs after an epoch, their NCM margins (T,), and the class means (C, D) of all training
    images."""
    train, targets = runs.outputs(spec, epoch, "train"), runs.outputs(spec, epoch, "test").where(rows)
    means = class_means(train.features, train.labels, runs.split(spec).num_classes)
    return targets, ncm_margins(ncm_scores(targets.features, means), targets.labels), means


def most_influential(runs: RunSet, spec: RunSpec, target: int, most: int = 3) -> tuple[torch.Tensor, list[str]]:
    """A target's image, and one image of each of the seen classes that move it most.

    target : position among the targets. The image of a class is its fine-tuning image nearest to the target in
    pre-trained features. Returns images (1 + most, 3, H, W) uint8 and their titles.
    """
    found, own = explain(runs, spec), runs.fine_tuning_outputs(spec, 0)
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
    found, own = explain(runs, spec), runs.fine_tuning_outputs(spec, 0)
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


def domain_shift(runs: RunSet, spec: RunSpec) -> torch.Tensor:
    """The mean pre-trained feature of the fine-tuning data minus that of the source images, (D,).

    NaN if the benchmark has no source images.
    """
    tuned = runs.fine_tuning_outputs(spec, 0).features.double().mean(0)
    source = source_images(runs.benchmark)
    if source is None:
        return torch.full_like(tuned, torch.nan)
    images, labels = source
    before, _ = load_before_after(spec, runs.device)
    index = torch.arange(len(labels))
    prepared = runs.prepared(spec, index, next(before.parameters()).device)
    outputs = extract(before, images, labels, index, prepared.normalize)
    return tuned - outputs.features.double().mean(0)


def target_means(runs: RunSet, spec: RunSpec) -> pd.DataFrame:
    """The means of `targets` over targets with 95 % intervals: columns metric, mean, low, high, n_samples, n_seeds.

    The intervals are from a bootstrap over targets; for `common`, a mean over pairs of targets, from a jackknife.
    Metrics that no target has are left out.
    """
    frame = targets(runs, spec).drop(columns=["seed", "target", "absent"]).dropna(axis="columns", how="all")
    generator = generator_for("bootstrap targets", runs.benchmark)
    table = bootstrap_means([torch.tensor(frame.to_numpy().T)], list(frame), generator)
    motion = explain(runs, spec).step
    n = len(motion)
    without_one = [attribution.mean_pairwise_cosine(motion[torch.arange(n) != i]) for i in range(n)]
    variance = (n - 1) ** 2 / n * torch.tensor(without_one, dtype=torch.float64).var()
    half = 1.96 * variance.sqrt().item()
    common = attribution.mean_pairwise_cosine(motion)
    table.loc[table["metric"] == "common", ["mean", "low", "high"]] = common, common - half, common + half
    return table
