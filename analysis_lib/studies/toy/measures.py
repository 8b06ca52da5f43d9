"""Metrics of the toy example, and variants that show under which conditions the effect fails.

Letters: N points, D = 2 features; S seen and U absent classes, Y both.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
import torch
from torch.nn.functional import cosine_similarity, one_hot

from ...analysis.gamma.curve import seen_absent_curve, shift_logits
from ...analysis.gamma.estimators import PRETRAINED, Evidence, estimate_gamma, offered
from ...analysis.metrics.accuracy import accuracies
from ...analysis.metrics.decomposition import softmax_decomposition
from ...analysis.metrics.feature_drift import displacement
from ...analysis.metrics.ncm import class_means, ncm_scores
from ...core.class_split import ClassSplit
from ...core.progress import log
from .network import DISSIMILAR, FINE_TUNED, PRE_TRAINED, Diverged, ToyConfig, ToyData, ToyNet, ToyResult, run_toy

SHOWN = [  # a few of all metrics, for a first look
    "acc_sy",
    "acc_uy",
    "acc_uu",
    "ncm_acc_uy",
    "p_absent_u",
    "ausuc",
    "gamma_alg",
    "alg_acc_uy",
    "gamma_stand_in",
    "stand_in_acc_uy",
    "gamma_star",
    "star_acc_sy",
    "star_acc_uy",
    "displacement_u",
    "cosine_nearest",
]
VARIANTS = {  # one thing changed at a time
    "as designed": ToyConfig(),
    "dissimilar classes": ToyConfig(seen=DISSIMILAR),
    "absent classes stay put": ToyConfig(absent_motion=0.0),
    "absent classes go the other way": ToyConfig(absent_motion=-1.0),
    "rotation 0°": ToyConfig(rotation=0.0),
    "rotation 40°": ToyConfig(rotation=40.0),
    "learning rate × 10": ToyConfig(lr=0.1),
    "learning rate × 30": ToyConfig(lr=0.3),
}


@torch.no_grad()
def toy_metrics(result: ToyResult) -> pd.DataFrame:
    """All metrics on the target test points: columns checkpoint, metric, value. Some are *oracle*, as marked.

    Per checkpoint: the five head accuracies; `ncm_` the same with class means of all target training points (*oracle*);
    the softmax decomposition; `ausuc`; `gamma_<method>` of every estimator from the fine-tuning data and `gamma_star`
    (*oracle*), each with `<method>_acc_sy`, `_acc_uy` and `_acc_yy` at that gamma. Fine-tuned only: `ncm_change`, NCM
    Acc_U/Y minus that before; `feature_drift.displacement` of the features (*oracle*); `cosine_nearest`, see
    `nearest_cosines`. Raises UserError as the estimators do.
    """
    split, data = result.config.split, result.data
    pretrained_logits = result.before(data.fine_tuning.x)[1]
    values = {name: _at_checkpoint(model, data, split, pretrained_logits) for name, model in result.models.items()}
    start, _ = result.before(data.test.x)
    end, _ = result.after(data.test.x)
    after = values[FINE_TUNED]
    after |= displacement(start, end, data.test.labels, split)
    after["ncm_change"] = after["ncm_acc_uy"] - values[PRE_TRAINED]["ncm_acc_uy"]
    after["cosine_nearest"] = nearest_cosines(start, end, data.test.labels, split).mean().item()
    rows = [(name, metric, value) for name, measured in values.items() for metric, value in measured.items()]
    return pd.DataFrame(rows, columns=["checkpoint", "metric", "value"])


def _at_checkpoint(
    model: ToyNet, data: ToyData, split: ClassSplit, pretrained_logits: torch.Tensor
) -> dict[str, float]:
    """The part of `toy_metrics` that each checkpoint has."""
    features, logits = model(data.test.x)
    means = class_means(model(data.train.x)[0], data.train.labels, split.num_classes)
    probe = accuracies(ncm_scores(features, means), data.test.labels, split)
    curve = seen_absent_curve(logits, data.test.labels, split)
    evidence = Evidence(model(data.fine_tuning.x)[1], data.fine_tuning.labels, split, pretrained_logits)
    values = accuracies(logits, data.test.labels, split)
    values |= {f"ncm_{key}": value for key, value in probe.items()}
    values |= softmax_decomposition(logits, data.test.labels, split).summary()
    values["ausuc"] = curve.ausuc
    points = {method: curve.at(estimate_gamma(method, evidence)) for method in offered(frozenset({PRETRAINED}))}
    points["star"] = curve.best()
    for method, point in points.items():
        values |= {
            f"gamma_{method}": point.gamma,
            f"{method}_acc_sy": point.acc_sy,
            f"{method}_acc_uy": point.acc_uy,
            f"{method}_acc_yy": point.acc_yy,
        }
    return values


def nearest_cosines(start: torch.Tensor, end: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> torch.Tensor:
    """The cosine of each absent sample's displacement with that of the nearest seen class. *Oracle*.

    start, end : (N, D) features of the same samples; labels : (N,) int64, every class among them. Returns, for each
    sample of U, the cosine of its displacement with the mean displacement of the seen class whose mean was nearest to
    the mean of its own class at the start. Source: ours.
    """
    own = one_hot(labels, split.num_classes).to(start)
    sizes = own.sum(0)[:, None]
    centres, steps = own.T @ start / sizes, own.T @ (end - start) / sizes
    seen = torch.tensor(split.seen)
    nearest = seen[torch.cdist(centres, centres[seen]).argmin(1)]
    absent = ~split.is_seen(labels)
    return cosine_similarity((end - start)[absent], steps[nearest[labels[absent]]])


def toy_grid(
    variants: Mapping[str, ToyConfig] = VARIANTS,
    directions: Sequence[float] = (0, 90, 180, 270),
    seeds: Sequence[int] = (0, 1, 2, 3),
) -> pd.DataFrame:
    """`toy_metrics` of every variant, for shifts in several directions and for several seeds.

    Columns variant, direction, seed, checkpoint, metric, value. These directions and seeds replace the variant's own;
    variants are compared on the same noise. A run that diverges is left out with a line in the log. Source: ours.
    """
    tables = []
    for (name, config), direction, seed in itertools.product(variants.items(), directions, seeds):
        config = replace(config, direction=direction, source=replace(config.source, seed=seed))
        try:
            measured = toy_metrics(run_toy(config))
        except Diverged as error:
            log(f"toy, {name}, direction {direction:g}, seed {seed}, left out: {error}")
            continue
        tables.append(measured.assign(variant=name, direction=direction, seed=seed))
    return pd.concat(tables, ignore_index=True)[["variant", "direction", "seed", "checkpoint", "metric", "value"]]


def toy_changes(table: pd.DataFrame) -> pd.DataFrame:
    """The change by fine-tuning in every run of `toy_grid`: columns variant, direction, seed, metric, change.

    `acc_uy`, `ncm_acc_uy` (*oracle*) and `ausuc`: fine-tuned minus pre-trained. `star_acc_uy`: Acc_U/Y of the
    fine-tuned head at gamma* (*oracle*) minus that of the pre-trained head as it is. Source: ours.
    """
    wide = table.pivot(index=["variant", "direction", "seed"], columns=["checkpoint", "metric"], values="value")
    base = {"acc_uy": "acc_uy", "star_acc_uy": "acc_uy", "ncm_acc_uy": "ncm_acc_uy", "ausuc": "ausuc"}
    differences = {metric: wide[FINE_TUNED, metric] - wide[PRE_TRAINED, before] for metric, before in base.items()}
    changes = pd.DataFrame(differences)
    changes = changes.reindex(table["variant"].unique(), level="variant").reset_index()
    return changes.melt(["variant", "direction", "seed"], var_name="metric", value_name="change")


@torch.no_grad()
def decision_grid(
    model: ToyNet, split: ClassSplit, gamma: float, extent: float, steps: int = 300
) -> tuple[torch.Tensor, torch.Tensor]:
    """The predicted class on a square grid of the input plane.

    Returns the coordinates (steps,) from -extent to extent, of both axes, and the classes (steps, steps) int64 with
    rows along y, when gamma is added to the absent logits. Source: ours.
    """
    axis = torch.linspace(-extent, extent, steps, dtype=torch.float64)
    plane = torch.cartesian_prod(axis, axis).flip(1)
    return axis, shift_logits(model(plane)[1], split, gamma).argmax(1).reshape(steps, steps)


def side_by_side(measured: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """`toy_metrics` of several runs: a column metric, and one for each run and checkpoint, `<run>, <checkpoint>`."""
    columns = {}
    for run, table in measured.items():
        for checkpoint, rows in table.groupby("checkpoint", sort=False):
            columns[f"{run}, {checkpoint}"] = rows.set_index("metric")["value"]
    return pd.DataFrame(columns).rename_axis("metric").reset_index()
