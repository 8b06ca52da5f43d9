"""Confidence intervals for a study's numbers: over seeds and classes.

Numbers of the test samples have the intervals of `analysis.stats.intervals`: classes are left out with all of their
drawings, and every gamma is held fixed. `gamma_intervals` measures apart how much an estimator's gamma varies with the
fine-tuning samples.
"""

from dataclasses import replace
from itertools import combinations

import pandas as pd
import torch

from ..analysis.gamma.curve import ausuc_parts, shift_logits
from ..analysis.gamma.estimators import HALVES, NONE, ORACLE, PRETRAINED, THIRDS, Evidence, estimate_gamma, offered
from ..analysis.gamma.estimators.pseudo_cv import Fold
from ..analysis.metrics.accuracy import group_masks, max_over
from ..analysis.metrics.decomposition import softmax_decomposition
from ..analysis.metrics.ncm import class_means, ncm_scores
from ..analysis.stats import intervals, summary
from ..analysis.stats.bootstrap import draw_cluster_resamples
from ..analysis.stats.claims import BEFORE, Contrast, State, change
from ..analysis.stats.sample_numbers import SampleNumbers, sample_numbers
from ..core.class_split import ClassSplit
from ..core.errors import UserError
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for
from ..runs.outputs import Outputs
from ..runs.run_set import FINE_TUNED, PRE_TRAINED, RunSet
from . import calibration

KEYS = {"acc_sy": "s", "acc_uy": "u", "acc_yy": "y"}  # the accuracies that a shift changes, and their groups
# other means over the test samples of each checkpoint, and their groups
PROBES = {"acc_uu": "u", "ncm_acc_sy": "s", "ncm_acc_uy": "u", "p_absent_u": "u"}


def sample_values(runs: RunSet, spec: RunSpec, calibrated: pd.DataFrame) -> dict[tuple[State, str], torch.Tensor]:
    """The value of each test sample of a run for each metric: (N,) float64, NaN outside the metric's group.

    A name is a state and a metric: one of `KEYS` for the rows of `calibrated` (from `calibration.calibrations`), one of
    `PROBES` for each checkpoint. NCM means use all classes' training images (*oracle*).
    """
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
    return rows


def area_parts(test: Outputs, split: ClassSplit) -> tuple[torch.Tensor, torch.Tensor]:
    """What each sample adds to AUSUC, NaN but for seen samples, and NaN but for absent ones: (N,) float64 each."""
    parts, seen = ausuc_parts(test.logits, test.labels, split), split.is_seen(test.labels)
    return parts.where(seen, torch.nan), parts.where(~seen, torch.nan)


def checkpoint_numbers(runs: RunSet, calibrated: pd.DataFrame) -> SampleNumbers:
    """The means of `sample_values` and AUSUC of each checkpoint."""
    values = [sample_values(runs, spec, calibrated) for spec in runs.specs]
    areas = []
    for spec in runs.specs:
        tests = {name: runs.outputs(run, epoch, "test") for name, (run, epoch) in runs.checkpoints(spec).items()}
        areas.append({State(name): area_parts(test, runs.split(spec)) for name, test in tests.items()})
    labels = runs.outputs(runs.specs[0], 0, "test").labels  # the seeds share the test samples, in one order
    return sample_numbers(values, areas, labels)


def calibration_intervals(runs: RunSet, calibrated: pd.DataFrame) -> pd.DataFrame:
    """Intervals of the differences between every state of `calibration.calibrations` and the unshifted pre-trained
    model.

    Columns: checkpoint, method, metric, mean, low, high, n_samples, n_seeds.
    """
    found = checkpoint_numbers(runs, calibrated)
    states = dict.fromkeys(state for state, _ in found.names if state.method and state != BEFORE)
    contrasts = [Contrast(state, BEFORE, key) for state in states for key in KEYS]
    table = found.differences(contrasts)
    named = {
        "checkpoint": [contrast.a.checkpoint for contrast in contrasts],
        "method": [contrast.a.method for contrast in contrasts],
        "metric": [contrast.metric for contrast in contrasts],
    }
    return pd.DataFrame(named).join(table[["mean", "low", "high", "n_samples", "n_seeds"]])


def evidence(runs: RunSet, calibrated: pd.DataFrame, over_seeds: pd.DataFrame) -> pd.DataFrame:
    """All differences that claims use, each with its interval.

    Every checkpoint is compared with each one before it: without a shift, and each of its gammas with no shift on
    itself, no shift on the other, and the other's gamma* (*oracle*). over_seeds : columns seed, checkpoint, metric,
    value, for metrics with one number per seed, whose intervals have no class part. Columns: quantity (a Contrast),
    those of `intervals.estimate`, n_samples, n_seeds.
    """
    found = checkpoint_numbers(runs, calibrated)
    methods = calibrated.groupby("checkpoint")["method"].unique()
    measured, named = [], []
    for before, after in combinations(runs.checkpoints(runs.specs[0]), 2):
        # the changes from one checkpoint to the next are measured without a shift, and their names do not mention one
        unshifted = [Contrast(State(after), State(before), metric) for metric in (*PROBES, "ausuc", *KEYS)]
        named += unshifted
        measured += unshifted[: -len(KEYS)]
        measured += [Contrast(State(after, NONE), State(before, NONE), key) for key in KEYS]
        for method in methods[after]:
            for other in (State(after, NONE), State(before, NONE), State(before, ORACLE)):
                if method != NONE:
                    own = [Contrast(State(after, method), other, key) for key in KEYS]
                    measured += own
                    named += own
    drawn = found.differences(measured).assign(quantity=named).drop_duplicates("quantity")
    changes = summary.change(over_seeds, PRE_TRAINED, FINE_TUNED, "checkpoint", ["metric"])
    alone = intervals.over_seeds_only(changes).assign(
        quantity=[change(metric) for metric in changes["metric"]], n_seeds=changes["n"]
    )
    table = pd.concat([drawn, alone], ignore_index=True)
    columns = ["quantity", "mean", "low", "high", *intervals.ERRORS, "n_samples", "n_seeds", "interval"]
    return table[columns].astype({"n_samples": "Int64"})


def gamma_intervals(runs: RunSet, resamples: int = 200) -> pd.DataFrame:
    """95 % intervals of each estimator's gamma over the fine-tuning samples: columns seed, method, gamma, low, high, n.

    A bootstrap over the clusters of the rows that the estimator uses, each fold's rows among them. The networks are
    held fixed. A draw that leaves an estimator without the rows that it needs, such as all held-out ones of a fold, has
    no gamma and is passed over. Transductive estimators are left out. n : fine-tuning images. Source: ours.
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
            drawn.append({method: _gamma_or_none(method, some) for method in methods})
        ends = pd.DataFrame(drawn, dtype=float).quantile([0.025, 0.975])
        for method in methods:
            low, high = ends[method]
            found.append((spec.seed, method, estimate_gamma(method, whole), low, high, len(whole.labels)))
    return pd.DataFrame(found, columns=["seed", "method", "gamma", "low", "high", "n"])


def _gamma_or_none(method: str, evidence: Evidence) -> float | None:
    """The estimate, or None where the drawn rows do not suffice for one."""
    try:
        return estimate_gamma(method, evidence)
    except UserError:
        return None


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
