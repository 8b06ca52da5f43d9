"""Why absent-class features move: the first fine-tuning step of a run taken apart by the classes it learns from.

Everything is measured at the pre-trained network, in eval mode, with the whole fine-tuning set as one batch and no
augmentation, on some absent-class test samples, the *targets*. The dear part is made once and stored beside the run.
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
from ..runs.outputs import extract
from ..runs.run_set import RunSet

TARGETS, PROBES = 24, 3  # absent test samples drawn, and random probes of the kernel
TOP = 5  # the most similar seen classes that concentration looks at


@dataclass(frozen=True)
class Explanation:
    """T targets, K seen classes, D feature width. rows : (T,) of the test Outputs; classes : (K,) seen classes, ascending;
    pulls : (K, T, D), a_c(x'), each seen class's share of the step for learning rate 1; kernel, kernel_error : (T, K), the
    normalised class kernel and its standard error over the probes."""

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
    """The explanation of a run; computed on the first call and stored."""
    path = paths.run_explanation(spec.run_id, TARGETS, PROBES)
    return Explanation(**files.cached(path, lambda: vars(_compute(runs, spec))))


def _compute(runs: RunSet, spec: RunSpec) -> Explanation:
    before, _ = load_before_after(spec, runs.device)
    device = next(before.parameters()).device
    rows, own = _targets(runs, spec), runs.fine_tuning_outputs(spec, 0)
    tuning, targets = (runs.prepared(spec, index, device) for index in (own.index, runs.outputs(spec, 0, "test").index[rows]))
    classes = own.labels.unique()
    displacements = gradients.class_displacements(before, tuning, own.labels, targets)
    pulls = torch.stack([pull.cpu() for _, pull in zip(progress(classes, "seen classes"), displacements)])
    probes = normal_draws((PROBES, pulls.shape[2]), "probes", spec.run_id).to(pulls.dtype)
    kernel, error = class_kernel(before, tuning, own.labels, targets, probes)
    selves = [self_kernel(before, part, probes)[0] for part in (targets, tuning)]
    scaled = [normalized_kernel(part, *selves, own.labels) for part in (kernel, error)]
    return Explanation(rows, classes, pulls, *scaled)


def _targets(runs: RunSet, spec: RunSpec) -> torch.Tensor:
    """Rows of the test Outputs: absent samples in an order drawn by a named seed."""
    absent = (~runs.split(spec).is_seen(runs.outputs(spec, 0, "test").labels)).nonzero().squeeze(1)
    order = torch.randperm(len(absent), generator=generator_for("targets", runs.benchmark, spec.seed))
    return absent[order[:TARGETS]]


def step_check(runs: RunSet, spec: RunSpec, steps: int = 8) -> pd.DataFrame:
    """The predicted against the real displacement of the absent test samples after one step (M1): `gradients.step_check` at
    the run's learning rate, a quarter of it, and so on, with a column seed."""
    before, _ = load_before_after(spec, runs.device)
    device = next(before.parameters()).device
    own, test = runs.fine_tuning_outputs(spec, 0), runs.outputs(spec, 0, "test")
    index = test.index[~runs.split(spec).is_seen(test.labels)]
    step = gradients.backbone_step(before, runs.prepared(spec, own.index, device), own.labels)
    etas = [spec.lr / 4**k for k in range(steps)]
    return gradients.step_check(before, runs.prepared(spec, index, device), step, etas).assign(seed=spec.seed)


def influences(runs: RunSet, spec: RunSpec) -> pd.DataFrame:
    """Every target with every seen class: what it contributes, and how alike they were beforehand.

    Columns: seed, target (row of the manifest), absent, seen (class names), pull (||a_c||, for learning rate 1), kernel,
    kernel_error, feature_cosine (of the target with the seen class's mean), direction (cosine of a_c with minus the mean
    feature gradient of class c: 1 where the kernel is a multiple of the identity).
    """
    found, own = explain(runs, spec), runs.fine_tuning_outputs(spec, 0)
    test = runs.outputs(spec, 0, "test").where(found.rows)
    cosine = ncm_scores(test.features, class_means(own.features, own.labels, runs.split(spec).num_classes))[:, found.classes]
    weight, _ = runs.head(spec, 0)
    slopes = head_step.feature_gradients(own.logits, own.labels, weight)
    mean_slopes = torch.stack([slopes[own.labels == c].mean(0) for c in found.classes])
    direction = attribution.cosines(found.pulls, -mean_slopes[:, None]).T
    names = runs.manifest.class_names
    n_targets, n_classes = found.kernel.shape
    return pd.DataFrame({
        "seed": spec.seed,
        "target": test.index.repeat_interleave(n_classes),
        "absent": [names[y] for y in test.labels.repeat_interleave(n_classes)],
        "seen": [names[c] for c in found.classes.repeat(n_targets)],
        "pull": found.pulls.norm(dim=2).T.flatten(),
        "kernel": found.kernel.flatten(),
        "kernel_error": found.kernel_error.flatten(),
        "feature_cosine": cosine.flatten(),
        "direction": direction.flatten(),
    })


def targets(runs: RunSet, spec: RunSpec) -> pd.DataFrame:
    """One row per target: how concentrated, how common and how useful its first-order motion is.

    Columns: seed, target, absent; share_kernel, share_cosine (of sum_c ||a_c||, what the TOP classes by kernel and by feature
    cosine hold, M4) and share_chance; rank_kernel, rank_cosine (Spearman over seen classes of ||a_c|| with each, all three
    relative to the class's mean over targets, because large and badly fitted classes pull everything); margin_change (M6, *oracle*: of
    the NCM margin, for learning rate 1), margin_gain (its real change by the whole fine-tuning), nearest_seen (largest
    feature cosine with a seen class); lasting (cosine of the first-order motion with the whole fine-tuning's);
    common (mean cosine with the other targets' motion, M7) and along_shift (cosine with `domain_shift`, NaN without source
    images); head_offset (M8: absent minus seen, for learning rate 1).
    """
    found, split = explain(runs, spec), runs.split(spec)
    own = runs.fine_tuning_outputs(spec, 0)
    start, end = (runs.outputs(spec, epoch, "test").where(found.rows) for epoch in (0, spec.epochs))
    means = [class_means(part.features, part.labels, split.num_classes) for part in (runs.outputs(spec, epoch, "train") for epoch in (0, spec.epochs))]
    sizes, top = found.pulls.norm(dim=2).T, min(TOP, len(found.classes))
    cosine = ncm_scores(start.features, class_means(own.features, own.labels, split.num_classes))[:, found.classes]
    unit = torch.nn.functional.normalize(found.step.double(), dim=1)
    at_ends = [ncm_margins(ncm_scores(part.features, mean), part.labels) for part, mean in zip((start, end), means)]
    weight_step, bias_step = head_step.head_step(own.features, own.logits, own.labels)
    columns = {
        "share_kernel": attribution.concentration(sizes, found.kernel)[:, top - 1],
        "share_cosine": attribution.concentration(sizes, cosine)[:, top - 1],
        "share_chance": torch.full((len(sizes),), top / len(found.classes)),
        "rank_kernel": attribution.rank_correlation(sizes / sizes.mean(0), found.kernel - found.kernel.mean(0)),
        "rank_cosine": attribution.rank_correlation(sizes / sizes.mean(0), cosine - cosine.mean(0)),
        "margin_change": attribution.margin_change(start.features, found.step, start.labels, means[0]),
        "margin_gain": at_ends[1] - at_ends[0],
        "nearest_seen": cosine.amax(1),
        "lasting": attribution.cosines(found.step, end.features - start.features),
        "common": ((unit @ unit.sum(0)) - 1) / (len(unit) - 1),
        "along_shift": attribution.cosines(found.step, domain_shift(runs, spec)),
        "head_offset": head_step.head_offset(start.features, weight_step, bias_step, split),
    }
    names = runs.manifest.class_names
    front = {"seed": spec.seed, "target": start.index, "absent": [names[y] for y in start.labels]}
    return pd.DataFrame(front | {name: value.double() for name, value in columns.items()})


def most_influential(runs: RunSet, spec: RunSpec, target: int, most: int = 3) -> tuple[torch.Tensor, list[str]]:
    """A target's picture, and one picture of each of the seen classes that move it most: images (1 + most, 3, H, W) and titles.

    target : position among the targets. The picture shown of a class is its fine-tuning image nearest in pre-trained features.
    """
    found, own = explain(runs, spec), runs.fine_tuning_outputs(spec, 0)
    test = runs.outputs(spec, 0, "test").where(found.rows)
    sizes = found.pulls[:, target].norm(dim=1)
    near = torch.nn.functional.cosine_similarity(own.features, test.features[target], dim=1)
    rows, titles = [test.index[target]], [f"{runs.manifest.class_names[test.labels[target]]} (absent)"]
    for k in sizes.argsort(descending=True)[:most]:
        rows.append(own.index[near.masked_fill(own.labels != found.classes[k], -torch.inf).argmax()])
        titles.append(f"{runs.manifest.class_names[found.classes[k]]}, {sizes[k] / sizes.sum():.0%}")
    return load_images(runs.manifest)[torch.stack(rows)], titles


def plane(runs: RunSet, spec: RunSpec, target: int, most: int = 3) -> pd.DataFrame:
    """A target's motion and the seen classes that cause most of it, in the plane of their own main directions.

    Columns: what (`target`, `first step`, `fine-tuned`, or a seen class for its mean pre-trained feature on the fine-tuning
    data), x, y. The first step is drawn as long as the real motion: its direction is what it says.
    """
    found, own = explain(runs, spec), runs.fine_tuning_outputs(spec, 0)
    start, end = (runs.outputs(spec, epoch, "test").where(found.rows).features[target].double() for epoch in (0, spec.epochs))
    step = found.step[target].double()
    chosen = found.classes[found.pulls[:, target].norm(dim=1).argsort(descending=True)[:most]]
    points = [start, start + step * (end - start).norm() / step.norm(), end, *(own.features[own.labels == c].double().mean(0) for c in chosen)]
    centred = torch.stack(points) - torch.stack(points).mean(0)
    axes = main_axes(centred)[0]
    names = ["target", "first step", "fine-tuned", *(runs.manifest.class_names[c] for c in chosen)]
    return pd.DataFrame({"what": names, "x": centred @ axes[0], "y": centred @ axes[1]})


def domain_shift(runs: RunSet, spec: RunSpec) -> torch.Tensor:
    """Mean pre-trained feature of the fine-tuning data minus that of the source images (D,); NaN where a benchmark has none of those."""
    tuned = runs.fine_tuning_outputs(spec, 0).features.double().mean(0)
    source = source_images(runs.benchmark)
    if source is None:
        return torch.full_like(tuned, torch.nan)
    images, labels = source
    before, _ = load_before_after(spec, runs.device)
    index = torch.arange(len(labels))
    outputs = extract(before, images, labels, index, runs.prepared(spec, index, next(before.parameters()).device).normalize)
    return tuned - outputs.features.double().mean(0)


def target_means(runs: RunSet, spec: RunSpec) -> pd.DataFrame:
    """The means of `targets` over targets with 95 % intervals: columns metric, mean, low, high, n_samples, n_seeds.

    A bootstrap over targets; for `common`, whose values are pairs of targets, a jackknife. What no target has is left out.
    """
    frame = targets(runs, spec).drop(columns=["seed", "target", "absent"]).dropna(axis="columns", how="all")
    generator = generator_for("bootstrap targets", runs.benchmark)
    table = bootstrap_means([torch.tensor(frame.to_numpy().T)], list(frame), generator)
    motion = explain(runs, spec).step
    n = len(motion)
    without = torch.tensor([attribution.mean_pairwise_cosine(motion[torch.arange(n) != i]) for i in range(n)], dtype=torch.float64)
    half = 1.96 * ((n - 1) ** 2 / n * without.var()).sqrt().item()
    common = attribution.mean_pairwise_cosine(motion)
    table.loc[table["metric"] == "common", ["mean", "low", "high"]] = common, common - half, common + half
    return table
