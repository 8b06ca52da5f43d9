"""Can one tell beforehand which absent classes will gain? Predictors from the pre-trained network, against what happened.

No predictor but the baseline `start` (*oracle*) sees a label of an absent class. They know the pre-trained head, the
labelled fine-tuning data, and the test images as an unlabelled pool, in which an absent class is represented by the images
that the pre-trained network scores highest for it. The outcomes use the labels (*oracle*).
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
from ..core.seeds import generator_for, normal_draws
from ..runs.execute import load_before_after
from ..runs.run_set import FINE_TUNED, PRE_TRAINED, RunSet
from .accuracy import checkpoints_only, metrics_by_epoch

IMAGES, EXAMPLES, PROBES = 3, 3, 2  # pool images of an absent class; fine-tuning images of a seen class, and probes, for the kernel
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
    """As many seen classes as the study has, all from one end of the pre-trained head rows' main direction: the designed
    negative case, in which absent classes have no near seen class. Uses no data."""
    spec = runs.specs[0]
    rows = normalize(runs.head(spec, 0)[0].double(), dim=1)
    chosen = (rows @ main_axes(rows)[0][0]).argsort(descending=True)[: len(runs.split(spec).seen)]
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
    rows = normalize(runs.head(spec, 0)[0].double(), dim=1)
    best = pool.logits[:, absent].topk(IMAGES, dim=0).indices.T
    means = class_means(own.features, own.labels, split.num_classes)
    seen = own.labels.unique()
    features = pool.features.double()[best]
    shift_seen = (means[seen] - rows[seen]).mean(0)
    shift_own = normalize(normalize(features, dim=2).mean(1), dim=1) - rows[absent]
    dear = _gradient_features(runs, spec, best)
    table = {
        "head_cosine": (rows[absent] @ rows[seen].T).amax(1),
        "feature_cosine": ncm_scores(features.flatten(0, 1), means)[:, seen].amax(1).unflatten(0, best.shape).mean(1),
        "confidence": pool.logits.double()[:, absent].softmax(1)[best, torch.arange(len(absent))[:, None]].mean(1),
        "kernel": dear["kernel"].amax(1),
        "shift_agreement": attribution.cosines(shift_own, shift_seen),
        "first_order": attribution.margin_change(features.flatten(0, 1), dear["step"].flatten(0, 1), absent.repeat_interleave(IMAGES), rows)
        .unflatten(0, best.shape).mean(1),
    }
    table |= _outcomes(runs, spec, absent)
    frame = pd.DataFrame({name: values.double() for name, values in table.items()})
    frame.insert(0, "seed", spec.seed)
    frame.insert(1, "absent", [runs.manifest.class_names[c] for c in absent])
    return frame[frame["n"] > 0].astype({"n": int})


def _gradient_features(runs: RunSet, spec: RunSpec, best: torch.Tensor) -> dict[str, torch.Tensor]:
    """What takes derivatives: `step` (U, IMAGES, D), the first-order motion of the pool images, and `kernel` (U, K), the
    normalised kernel of each absent class's best image with each seen class; stored beside the run."""

    def derive() -> dict[str, torch.Tensor]:
        before, _ = load_before_after(spec, runs.device)
        device = next(before.parameters()).device
        own, pool = runs.fine_tuning_outputs(spec, 0), runs.outputs(spec, 0, "test")
        step = gradients.backbone_step(before, runs.prepared(spec, own.index, device), own.labels)
        moved = gradients.predicted_displacement(before, runs.prepared(spec, pool.index[best.flatten()], device), step)
        some = torch.cat([(own.labels == c).nonzero().flatten()[:EXAMPLES] for c in own.labels.unique()])
        tuning, images = (runs.prepared(spec, index, device) for index in (own.index[some], pool.index[best[:, 0]]))
        probes = normal_draws((PROBES, moved.shape[1]), "probes", spec.run_id).to(moved.dtype)
        kernel, _ = class_kernel(before, tuning, own.labels[some], images, probes)
        selves = [self_kernel(before, part, probes)[0] for part in (images, tuning)]
        return {"step": moved.unflatten(0, best.shape), "kernel": normalized_kernel(kernel, *selves, own.labels[some])}

    return files.cached(paths.run_prediction(spec.run_id, IMAGES, EXAMPLES, PROBES), derive)


def _outcomes(runs: RunSet, spec: RunSpec, absent: torch.Tensor) -> dict[str, torch.Tensor]:
    split, found = runs.split(spec), []
    for epoch in (0, spec.epochs):
        train, test = (runs.outputs(spec, epoch, part) for part in ("train", "test"))
        scores = ncm_scores(test.features, class_means(train.features, train.labels, split.num_classes))
        found.append(torch.stack([(scores.argmax(1) == test.labels).double(), ncm_margins(scores, test.labels)]))
    sizes = test.labels.bincount(minlength=split.num_classes)
    sums = torch.zeros(2, split.num_classes, dtype=torch.float64).index_add_(1, test.labels, found[1] - found[0])
    gains = (sums / sizes)[:, absent]
    start = torch.zeros(split.num_classes, dtype=torch.float64).index_add_(0, test.labels, found[0][0]) / sizes
    return {"start": start[absent]} | dict(zip(OUTCOMES, gains)) | {"n": sizes[absent]}


def correlations(tables: Sequence[pd.DataFrame], benchmark: str) -> pd.DataFrame:
    """Spearman's correlation over absent classes of each predictor with each outcome, mean over seeds.

    tables : `by_class` of each seed. Columns: predictor, outcome, mean, low, high (95 %, bootstrap over classes and seeds),
    n_classes (of the smallest seed), n_seeds.
    """
    rows = []
    for predictor in PREDICTORS:
        for outcome in OUTCOMES:
            generator = generator_for("prediction", benchmark)
            columns = [[torch.tensor(table[name].to_numpy()) for table in tables] for name in (predictor, outcome)]
            rows.append((predictor, outcome, *spearman_over_groups(*columns, generator), min(map(len, tables)), len(tables)))
    return pd.DataFrame(rows, columns=["predictor", "outcome", "mean", "low", "high", "n_classes", "n_seeds"])


def compare_splits(runs: RunSet, other: RunSet) -> pd.DataFrame:
    """The random seen classes against the designed ones, on the same seed: columns seen, metric, before, after, change.

    Metrics: `head_cosine`, the mean over absent classes of the nearest seen head row (before only), and acc_uy, acc_uu,
    ncm_acc_uy (*oracle*) and ausuc of the test samples.
    """
    rows = []
    for seen, one in (("random", replace(runs, specs=runs.specs[:1])), ("dissimilar", other)):
        wide = checkpoints_only(one, metrics_by_epoch(one)).pivot(index="metric", columns="checkpoint", values="value")
        rows.append((seen, "head_cosine", by_class(one, one.specs[0])["head_cosine"].mean(), float("nan")))
        rows += [(seen, metric, *wide.loc[metric, [PRE_TRAINED, FINE_TUNED]]) for metric in ("acc_uy", "acc_uu", "ncm_acc_uy", "ausuc")]
    frame = pd.DataFrame(rows, columns=["seen", "metric", "before", "after"])
    return frame.assign(change=frame["after"] - frame["before"])


def both_splits(random: Sequence[pd.DataFrame], dissimilar: Sequence[pd.DataFrame], benchmark: str) -> pd.DataFrame:
    """`correlations` of the random and of the designed seen classes, told apart by a column split."""
    return pd.concat([correlations(tables, benchmark).assign(split=split) for split, tables in (("random", random), ("dissimilar", dissimilar))],
                     ignore_index=True)


def tidy(random: Sequence[pd.DataFrame], dissimilar: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """`by_class` of both kinds of seen classes in one table: columns split, seed, absent, n, quantity, value."""
    frames = [table.assign(split=split) for split, tables in (("random", random), ("dissimilar", dissimilar)) for table in tables]
    return pd.concat(frames).melt(["split", "seed", "absent", "n"], var_name="quantity", ignore_index=True)
