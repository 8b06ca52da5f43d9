"""Prediction of which absent classes gain from fine-tuning: correlations of predictors before it with outcomes after.

Each predictor is computed on one half of the test images and each outcome on the other, over many splits in halves.
"""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch
from torch.nn.functional import normalize

from ..analysis.influence.attribution import rank_correlation
from ..analysis.metrics.feature_space import main_axes
from ..analysis.stats import split_half
from ..analysis.stats.correlation import spearman_over_groups
from ..core.run_spec import RunSpec
from ..runs.run_set import FINE_TUNED, PRE_TRAINED, RunSet
from .accuracy import checkpoints_only, metrics_by_epoch
from .gain_predictors import OUTCOMES, PREDICTORS, by_class


def dissimilar_seen(runs: RunSet) -> tuple[str, ...]:
    """As many seen classes as the study has, all from one end of the main direction of the pre-trained head rows.

    This is the designed negative case: no absent class has a near seen class. Uses no data, but classes without a
    training image are not chosen.
    """
    spec = runs.specs[0]
    weight, _ = runs.head(spec, 0)
    rows = normalize(weight.double(), dim=1)
    axes, _ = main_axes(rows)
    trained = runs.manifest.labels[runs.manifest.rows("train")].unique()
    chosen = trained[(rows[trained] @ axes[0]).argsort(descending=True)[: len(runs.split(spec).seen)]]
    return tuple(runs.manifest.class_names[c] for c in sorted(chosen.tolist()))


def dissimilar_specs(runs: RunSet) -> list[RunSpec]:
    """The recipe and first seed of the runs, fine-tuned on `dissimilar_seen`."""
    spec = runs.specs[0]
    return [replace(spec, seen=dissimilar_seen(runs), record_every=spec.epochs)]


def dissimilar_runs(runs: RunSet) -> RunSet:
    """The runs of `dissimilar_specs`, opened for reading."""
    return replace(runs, specs=tuple(dissimilar_specs(runs)))


def correlations(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Spearman's correlation over absent classes of each predictor with each outcome, each from another half.

    tables : `by_class` of each seed. Columns:
    predictor, outcome;
    those of `intervals.estimate` : the mean over seeds, splits and both directions (predictor from the first half and
    outcome on the second, and the reverse), with its 95 % interval over seeds and classes;
    predictor_reliability, outcome_reliability : the correlation of the two halves with each other;
    corrected, corrected_low, corrected_high : the same as mean, low and high, corrected for attenuation, which is what
    the noise of the halves takes away; the interval takes the reliabilities as known; NaN, undefined, if one is near 0;
    same_images : the correlation if both are measured on all test images, and so share their noise;
    nothing_happened : the same with before and after exchanged at random (`swapped`), for `start` only;
    n_classes : of the smallest seed; n_left_out : classes with a single cluster, mean over seeds; n_seeds.
    """
    names = pd.Index(pd.concat([table["absent"] for table in tables]).unique())
    parts = [{images: _by_subset(table, images) for images in ("all", "half", "swapped")} for table in tables]
    items = [torch.tensor(names.get_indexer(part["half"]["absent"])) for part in parts]
    reliability = {name: _reliability(parts, name) for name in (*PREDICTORS, *OUTCOMES)}
    rows = []
    for predictor in PREDICTORS:
        for outcome in OUTCOMES:
            predicted = [part["half"][predictor] for part in parts]
            observed = [part["half"][outcome].unflatten(0, (-1, 2)).flip(1).flatten(0, 1) for part in parts]
            found = spearman_over_groups(predicted, observed, items)
            both = reliability[predictor], reliability[outcome]
            found |= {"predictor_reliability": both[0], "outcome_reliability": both[1]}
            for column, value in (("corrected", "mean"), ("corrected_low", "low"), ("corrected_high", "high")):
                found[column] = split_half.corrected(found[value], *both)
            found["same_images"] = _plain(parts, "all", predictor, outcome)
            found["nothing_happened"] = _plain(parts, "swapped", predictor, outcome)
            rows.append({"predictor": predictor, "outcome": outcome, **found})
    sizes = [(len(part["all"]["absent"]), len(part["half"]["absent"])) for part in parts]
    left_out = sum(every - kept for every, kept in sizes) / len(sizes)
    return pd.DataFrame(rows).assign(n_classes=min(kept for _, kept in sizes), n_left_out=left_out, n_seeds=len(tables))


def _by_subset(table: pd.DataFrame, images: str) -> dict:
    """The rows of one kind of images as tensors (H, U) by column, by split, half and class, and `absent`, the names."""
    part = table[table["images"] == images].sort_values(["split", "half", "absent"])
    absent = part["absent"].unique()
    subsets = part.groupby(["split", "half"]).ngroups or 2  # two empty halves where every class has a single cluster
    columns = {
        name: torch.tensor(part[name].to_numpy()).view(subsets, len(absent)) for name in (*PREDICTORS, *OUTCOMES)
    }
    return columns | {"absent": absent}


def _reliability(parts: Sequence[dict], name: str) -> float:
    """The rank correlation of the two halves, mean over splits and seeds."""
    pairs = [part["half"][name].unflatten(0, (-1, 2)).unbind(1) for part in parts]
    return torch.stack([rank_correlation(*pair).mean() for pair in pairs]).mean().item()


def _plain(parts: Sequence[dict], images: str, predictor: str, outcome: str) -> float:
    """The rank correlation of a predictor and an outcome from the same images, mean over subsets and seeds."""
    found = [rank_correlation(part[images][predictor], part[images][outcome]) for part in parts]
    return torch.stack([each.mean() for each in found]).mean().item()


def compare_splits(runs: RunSet, other: RunSet) -> pd.DataFrame:
    """Random seen classes compared with the designed ones, on one seed: columns seen, metric, before, after, change.

    Metrics: `head_cosine`, the mean over absent classes of the largest head cosine with a seen class (before only), and
    acc_uy, acc_uu, ncm_acc_uy (*oracle*) and ausuc of the test samples.
    """
    first = replace(runs, specs=runs.specs[:1])
    rows = []
    for seen, one in (("random", first), ("dissimilar", other)):
        wide = checkpoints_only(one, metrics_by_epoch(one)).pivot(index="metric", columns="checkpoint", values="value")
        classes = by_class(one, one.specs[0]).query("images == 'all'")
        rows.append((seen, "head_cosine", classes["head_cosine"].mean(), float("nan")))
        for metric in ("acc_uy", "acc_uu", "ncm_acc_uy", "ausuc"):
            rows.append((seen, metric, wide.loc[metric, PRE_TRAINED], wide.loc[metric, FINE_TUNED]))
    frame = pd.DataFrame(rows, columns=["seen", "metric", "before", "after"])
    return frame.assign(change=frame["after"] - frame["before"])


def both_splits(random: Sequence[pd.DataFrame], dissimilar: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """`correlations` for the random and for the designed seen classes, with a column split."""
    frames = [correlations(random).assign(split="random"), correlations(dissimilar).assign(split="dissimilar")]
    return pd.concat(frames, ignore_index=True)


def tidy(random: Sequence[pd.DataFrame], dissimilar: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """`by_class` from all test images, of both kinds of seen classes, in one table.

    Columns: split, seed, absent, n, quantity, value.
    """
    frames = []
    for split, tables in (("random", random), ("dissimilar", dissimilar)):
        for table in tables:
            whole = table.query("images == 'all'").drop(columns=["images", "half"])
            frames.append(whole.assign(split=split))
    return pd.concat(frames).melt(["split", "seed", "absent", "n"], var_name="quantity", ignore_index=True)
