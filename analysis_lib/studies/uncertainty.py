"""How sure a study's numbers are: paired intervals over test samples and seeds, and over seeds alone.

Whatever is a mean over test samples gets a paired bootstrap in which every gamma is held fixed and the samples of one
group (variants of one drawing) are drawn together; how much an estimator's own choice varies with the fine-tuning samples
is asked apart, in `gamma_intervals`.
"""

from dataclasses import replace

import pandas as pd
import torch

from ..analysis.gamma.curve import shift_logits
from ..analysis.gamma.estimators import ESTIMATORS, FOLDS, PRETRAINED, estimate_gamma, offered
from ..analysis.gamma.estimators.pseudo_cv import Fold
from ..analysis.metrics.accuracy import max_over
from ..analysis.metrics.decomposition import softmax_decomposition
from ..analysis.metrics.ncm import class_means, ncm_scores
from ..analysis.stats import summary
from ..analysis.stats.bootstrap import bootstrap_differences, draw_cluster_resamples
from ..analysis.stats.claims import AFTER, BEFORE, BEST_BEFORE, Contrast, State, change
from ..core.class_split import ClassSplit
from ..core.seeds import generator_for
from ..runs.run_set import FINE_TUNED, PRE_TRAINED, RunSet
from . import calibration

KEYS = {"acc_sy": "s", "acc_uy": "u", "acc_yy": "y"}  # the accuracies that a shift changes, and whose they are
PROBES = {"acc_uu": "u", "ncm_acc_sy": "s", "ncm_acc_uy": "u", "p_absent_u": "u"}  # means over test samples of each checkpoint


def sample_values(runs: RunSet, calibrated: pd.DataFrame) -> tuple[list[tuple[State, str]], list[torch.Tensor]]:
    """What each test sample contributes to each metric: M names and, for each seed, (M, N) float64, NaN outside the group.

    A name is a state and a metric: one of `KEYS` for the rows of `calibrated` (from `calibration.calibrations`), one of
    `PROBES` for each checkpoint. NCM means use all classes' training images (*oracle*).
    """
    values = []
    for spec in runs.specs:
        split, rows = runs.split(spec), {}
        tests = {checkpoint: runs.outputs(spec, epoch, "test") for checkpoint, epoch in runs.checkpoints(spec).items()}
        for line in calibrated[calibrated["seed"] == spec.seed].itertuples():
            test = tests[line.checkpoint]
            right = shift_logits(test.logits, split, line.gamma).argmax(1) == test.labels
            for key, group in KEYS.items():
                rows[State(line.checkpoint, line.method), key] = right.double().where(_members(split, test.labels)[group], torch.nan)
        for checkpoint, epoch in runs.checkpoints(spec).items():
            test, train = tests[checkpoint], runs.outputs(spec, epoch, "train")
            nearest = ncm_scores(test.features, class_means(train.features, train.labels, split.num_classes)).argmax(1) == test.labels
            measured = {
                "acc_uu": max_over(test.logits, split.absent)[1] == test.labels,
                "ncm_acc_sy": nearest,
                "ncm_acc_uy": nearest,
                "p_absent_u": softmax_decomposition(test.logits, test.labels, split).p_absent,
            }
            for probe, group in PROBES.items():
                rows[State(checkpoint), probe] = measured[probe].double().where(_members(split, test.labels)[group], torch.nan)
        values.append(torch.stack(list(rows.values())))
    return list(rows), values


def _members(split: ClassSplit, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """(N,) bool of the samples in each group."""
    seen = split.is_seen(labels)
    return {"s": seen, "u": ~seen, "y": torch.ones_like(seen)}


def calibration_intervals(runs: RunSet, calibrated: pd.DataFrame) -> pd.DataFrame:
    """Every state of `calibration.calibrations` minus the pre-trained model without a shift.

    Columns: checkpoint, method, metric, mean, low, high, n_samples, n_seeds.
    """
    names, values = sample_values(runs, calibrated)
    states = dict.fromkeys(state for state, _ in names if state.method and state != BEFORE)
    contrasts = [Contrast(state, BEFORE, key) for state in states for key in KEYS]
    table = _differences(runs, names, values, contrasts)
    return pd.DataFrame({
        "checkpoint": [contrast.a.checkpoint for contrast in contrasts],
        "method": [contrast.a.method for contrast in contrasts],
        "metric": [contrast.metric for contrast in contrasts],
    }).join(table[["mean", "low", "high", "n_samples", "n_seeds"]])


def _differences(runs: RunSet, names: list[tuple[State, str]], values: list[torch.Tensor], contrasts: list[Contrast]) -> pd.DataFrame:
    """The contrasts with their bootstrap intervals, in order."""
    pairs = [((contrast.a, contrast.metric), (contrast.b, contrast.metric)) for contrast in contrasts]
    return bootstrap_differences(values, names, pairs, _generator(runs), clusters=_clusters(runs))


def evidence(runs: RunSet, calibrated: pd.DataFrame, over_seeds: pd.DataFrame) -> pd.DataFrame:
    """All differences that claims may ask for, each with the interval that fits it.

    over_seeds : columns seed, checkpoint, metric, value, of what is one number per seed. Columns: quantity (a Contrast),
    mean, low, high, n_samples, n_seeds, interval: `bootstrap` over test samples and seeds, or `Student` over seeds.
    """
    names, values = sample_values(runs, calibrated)
    # what fine-tuning changed is measured without a shift, and is named without one
    measured = [Contrast(State(FINE_TUNED), State(PRE_TRAINED), probe) for probe in PROBES] + [Contrast(AFTER, BEFORE, key) for key in KEYS]
    named = [change(metric) for metric in (*PROBES, *KEYS)]
    for method in list(ESTIMATORS)[1:]:
        for other in (AFTER, BEFORE, BEST_BEFORE):
            own = [Contrast(State(FINE_TUNED, method), other, key) for key in KEYS]
            measured, named = measured + own, named + own
    drawn = _differences(runs, names, values, measured).drop(columns=["a", "b"]).assign(quantity=named, interval="bootstrap")
    changes = summary.change(over_seeds, PRE_TRAINED, FINE_TUNED, "checkpoint", ["metric"])
    student = changes.assign(quantity=[change(metric) for metric in changes["metric"]], n_seeds=changes["n"], interval="Student")
    table = pd.concat([drawn, student], ignore_index=True)
    return table[["quantity", "mean", "low", "high", "n_samples", "n_seeds", "interval"]].astype({"n_samples": "Int64"})


def gamma_intervals(runs: RunSet, resamples: int = 200) -> pd.DataFrame:
    """How far each estimator's gamma varies with the fine-tuning samples drawn: columns seed, method, gamma, low, high, n.

    A bootstrap over the groups of rows that the estimator sees, which for cross-validation are single held-out images of
    the folds; the networks are held fixed. Transductive ones are left out. n : rows. Source: ours.
    """
    methods = offered(frozenset({PRETRAINED, FOLDS}))
    found = []
    for spec in runs.specs:
        whole, generator = calibration.evidence(runs, spec), generator_for("gamma", spec.run_id)
        drawn = []
        for counts in draw_cluster_resamples(runs.clusters(runs.fine_tuning_outputs(spec, spec.epochs)), 1, generator, resamples)[0]:
            rows = torch.arange(len(counts)).repeat_interleave(counts.long())
            folds = [_redrawn(fold, torch.randint(len(fold.labels), fold.labels.shape, generator=generator)) for fold in whole.folds]
            some = replace(whole, logits=whole.logits[rows], labels=whole.labels[rows],
                           pretrained_logits=whole.pretrained_logits[rows], folds=folds)
            drawn.append({method: estimate_gamma(method, some) for method in methods})
        ends = pd.DataFrame(drawn).quantile([0.025, 0.975])
        n_folds = sum(len(fold.labels) for fold in whole.folds)
        found += [(spec.seed, method, estimate_gamma(method, whole), *ends[method],
                   n_folds if ESTIMATORS[method].extra_training else len(whole.labels)) for method in methods]
    return pd.DataFrame(found, columns=["seed", "method", "gamma", "low", "high", "n"])


def _redrawn(fold: Fold, rows: torch.Tensor) -> Fold:
    return replace(fold, logits=fold.logits[rows], pretrained_logits=fold.pretrained_logits[rows], labels=fold.labels[rows])


def _clusters(runs: RunSet) -> torch.Tensor:
    return runs.clusters(runs.outputs(runs.specs[0], 0, "test"))


def _generator(runs: RunSet) -> torch.Generator:
    return generator_for("bootstrap", runs.benchmark)
