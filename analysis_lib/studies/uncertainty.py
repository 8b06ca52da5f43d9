"""Confidence intervals for a study's numbers: paired, over test samples and seeds, or over seeds alone.

Means over test samples have a paired bootstrap in which every gamma is held fixed, and the samples of one cluster
(variants of one drawing) are drawn together. `gamma_intervals` measures apart how much an estimator's gamma varies with
the fine-tuning samples.
"""

from dataclasses import replace

import pandas as pd
import torch

from ..analysis.gamma.curve import shift_logits
from ..analysis.gamma.estimators import ESTIMATORS, HALVES, PRETRAINED, THIRDS, Evidence, estimate_gamma, offered
from ..analysis.gamma.estimators.pseudo_cv import Fold
from ..analysis.metrics.accuracy import group_masks, max_over
from ..analysis.metrics.decomposition import softmax_decomposition
from ..analysis.metrics.ncm import class_means, ncm_scores
from ..analysis.stats import summary
from ..analysis.stats.bootstrap import bootstrap_differences, draw_cluster_resamples
from ..analysis.stats.claims import AFTER, BEFORE, BEST_BEFORE, Contrast, State, change
from ..core.seeds import generator_for
from ..runs.run_set import FINE_TUNED, PRE_TRAINED, RunSet
from . import calibration

KEYS = {"acc_sy": "s", "acc_uy": "u", "acc_yy": "y"}  # the accuracies that a shift changes, and their groups
# other means over the test samples of each checkpoint, and their groups
PROBES = {"acc_uu": "u", "ncm_acc_sy": "s", "ncm_acc_uy": "u", "p_absent_u": "u"}


def sample_values(runs: RunSet, calibrated: pd.DataFrame) -> tuple[list[tuple[State, str]], list[torch.Tensor]]:
    """The value of each test sample for each metric: M names and, for each seed, (M, N) float64, NaN outside the group.

    A name is a state and a metric: one of `KEYS` for the rows of `calibrated` (from `calibration.calibrations`), one of
    `PROBES` for each checkpoint. NCM means use all classes' training images (*oracle*).
    """
    values = []
    for spec in runs.specs:
        split, rows = runs.split(spec), {}
        checkpoints = runs.checkpoints(spec)
        tests = {name: runs.outputs(run, epoch, "test") for name, (run, epoch) in checkpoints.items()}
        for line in calibrated[calibrated["seed"] == spec.seed].itertuples():
            test = tests[line.checkpoint]
            masks = group_masks(test.labels, split)
            right = (shift_logits(test.logits, split, line.gamma).argmax(1) == test.labels).double()
            for key, group in KEYS.items():
                rows[State(line.checkpoint, line.method), key] = right.where(masks[group], torch.nan)
        for checkpoint, (run, epoch) in checkpoints.items():
            test, train = tests[checkpoint], runs.outputs(run, epoch, "train")
            masks = group_masks(test.labels, split)
            means = class_means(train.features, train.labels, split.num_classes)
            nearest = ncm_scores(test.features, means).argmax(1) == test.labels
            measured = {
                "acc_uu": max_over(test.logits, split.absent)[1] == test.labels,
                "ncm_acc_sy": nearest,
                "ncm_acc_uy": nearest,
                "p_absent_u": softmax_decomposition(test.logits, test.labels, split).p_absent,
            }
            for probe, group in PROBES.items():
                rows[State(checkpoint), probe] = measured[probe].double().where(masks[group], torch.nan)
        values.append(torch.stack(list(rows.values())))
    return list(rows), values


def calibration_intervals(runs: RunSet, calibrated: pd.DataFrame) -> pd.DataFrame:
    """Intervals of the differences between every state of `calibration.calibrations` and the unshifted pre-trained
    model.

    Columns: checkpoint, method, metric, mean, low, high, n_samples, n_seeds.
    """
    names, values = sample_values(runs, calibrated)
    states = dict.fromkeys(state for state, _ in names if state.method and state != BEFORE)
    contrasts = [Contrast(state, BEFORE, key) for state in states for key in KEYS]
    table = _differences(runs, names, values, contrasts)
    named = {
        "checkpoint": [contrast.a.checkpoint for contrast in contrasts],
        "method": [contrast.a.method for contrast in contrasts],
        "metric": [contrast.metric for contrast in contrasts],
    }
    return pd.DataFrame(named).join(table[["mean", "low", "high", "n_samples", "n_seeds"]])


def _differences(
    runs: RunSet, names: list[tuple[State, str]], values: list[torch.Tensor], contrasts: list[Contrast]
) -> pd.DataFrame:
    """The contrasts with their bootstrap intervals, in order."""
    pairs = [((contrast.a, contrast.metric), (contrast.b, contrast.metric)) for contrast in contrasts]
    return bootstrap_differences(values, names, pairs, _generator(runs), clusters=_clusters(runs))


def evidence(runs: RunSet, calibrated: pd.DataFrame, over_seeds: pd.DataFrame) -> pd.DataFrame:
    """All differences that claims use, each with its interval.

    over_seeds : columns seed, checkpoint, metric, value, for metrics with one number per seed. Columns: quantity (a
    Contrast), mean, low, high, n_samples, n_seeds, interval: `bootstrap` over test samples and seeds, or `Student` over
    seeds.
    """
    names, values = sample_values(runs, calibrated)
    # the changes by fine-tuning are measured without a shift, and their names do not mention one
    measured = [Contrast(State(FINE_TUNED), State(PRE_TRAINED), probe) for probe in PROBES]
    measured += [Contrast(AFTER, BEFORE, key) for key in KEYS]
    named = [change(metric) for metric in (*PROBES, *KEYS)]
    for method in list(ESTIMATORS)[1:]:
        for other in (AFTER, BEFORE, BEST_BEFORE):
            own = [Contrast(State(FINE_TUNED, method), other, key) for key in KEYS]
            measured += own
            named += own
    drawn = _differences(runs, names, values, measured).drop(columns=["a", "b"])
    drawn = drawn.assign(quantity=named, interval="bootstrap")
    changes = summary.change(over_seeds, PRE_TRAINED, FINE_TUNED, "checkpoint", ["metric"])
    student = changes.assign(
        quantity=[change(metric) for metric in changes["metric"]], n_seeds=changes["n"], interval="Student"
    )
    table = pd.concat([drawn, student], ignore_index=True)
    return table[["quantity", "mean", "low", "high", "n_samples", "n_seeds", "interval"]].astype({"n_samples": "Int64"})


def gamma_intervals(runs: RunSet, resamples: int = 200) -> pd.DataFrame:
    """95 % intervals of each estimator's gamma over the fine-tuning samples: columns seed, method, gamma, low, high, n.

    A bootstrap over the clusters of the rows that the estimator uses, each fold's rows among them. The networks are
    held fixed. Transductive estimators are left out. n : fine-tuning images. Source: ours.
    """
    methods = offered(calibration.evidence(runs, runs.specs[0]).holds & {PRETRAINED, HALVES, THIRDS})
    found = []
    for spec in runs.specs:
        whole, generator = calibration.evidence(runs, spec), generator_for("gamma", spec.run_id)
        clusters = runs.clusters(runs.fine_tuning_outputs(spec, spec.epochs))
        sample_counts, _ = draw_cluster_resamples(clusters, 1, generator, resamples)
        drawn = []
        for counts in sample_counts:
            some = _redrawn(whole, counts, generator)
            drawn.append({method: estimate_gamma(method, some) for method in methods})
        ends = pd.DataFrame(drawn).quantile([0.025, 0.975])
        for method in methods:
            low, high = ends[method]
            found.append((spec.seed, method, estimate_gamma(method, whole), low, high, len(whole.labels)))
    return pd.DataFrame(found, columns=["seed", "method", "gamma", "low", "high", "n"])


def _redrawn(whole: Evidence, counts: torch.Tensor, generator: torch.Generator) -> Evidence:
    """The evidence with each row as often as `counts` (N,) says, and with each fold's rows drawn with replacement."""
    rows = torch.arange(len(counts)).repeat_interleave(counts.long())
    return replace(
        whole,
        logits=whole.logits[rows],
        labels=whole.labels[rows],
        pretrained_logits=whole.pretrained_logits[rows],
        halves=[_redrawn_fold(fold, generator) for fold in whole.halves or []],
        thirds=[_redrawn_fold(fold, generator) for fold in whole.thirds or []],
    )


def _redrawn_fold(fold: Fold, generator: torch.Generator) -> Fold:
    """The fold with its clusters drawn with replacement."""
    [counts], _ = draw_cluster_resamples(fold.clusters, 1, generator, 1)
    return fold.where(torch.arange(len(counts)).repeat_interleave(counts.long()))


def _clusters(runs: RunSet) -> torch.Tensor:
    return runs.clusters(runs.outputs(runs.specs[0], 0, "test"))


def _generator(runs: RunSet) -> torch.Generator:
    return generator_for("bootstrap", runs.benchmark)
