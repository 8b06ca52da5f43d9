"""Accuracies and softmax decomposition of a study's runs, by epoch."""

import math

import pandas as pd

from ..analysis.gamma.curve import seen_absent_curve
from ..analysis.gamma.estimators.logit_gap import average_logit_gap
from ..analysis.metrics import METRICS, confusion
from ..analysis.metrics.accuracy import accuracies, top_k_accuracies
from ..analysis.metrics.decomposition import softmax_decomposition
from ..analysis.metrics.ncm import class_means, ncm_scores
from ..core.run_spec import RunSpec
from ..runs.run_set import FINE_TUNED, PRE_TRAINED, RunSet


def metrics_by_epoch(runs: RunSet) -> pd.DataFrame:
    """Metrics that are one number per network, after every epoch: columns seed, epoch, metric, value, samples.

    Metrics: the five accuracies of the head; `top5_`, the same at top 5, but for groups of at most five classes, among
    which every prediction is right; `ncm_`, the five of the nearest-class-mean probe, with class means from
    training images of all classes (*oracle*); `p_absent_*`, `p_within_*`, `confusion_*`, `wrong_within_*`,
    `wrong_group_*` of the softmax decomposition; `ausuc`; `alg`, gamma from the fine-tuning data.
    """
    rows = []
    for spec in runs.specs:
        for epoch in runs.epochs(spec):
            rows += [(spec.seed, epoch, *found) for found in _metrics(runs, spec, epoch)]
    return pd.DataFrame(rows, columns=["seed", "epoch", "metric", "value", "samples"])


def metrics_by_checkpoint(runs: RunSet) -> pd.DataFrame:
    """The metrics of `metrics_by_epoch` of each network compared: columns seed, checkpoint, metric, value, samples."""
    rows = []
    for spec in runs.specs:
        for checkpoint, (run, epoch) in runs.checkpoints(spec).items():
            rows += [(spec.seed, checkpoint, *found) for found in _metrics(runs, run, epoch)]
    return pd.DataFrame(rows, columns=["seed", "checkpoint", "metric", "value", "samples"])


def _metrics(runs: RunSet, spec: RunSpec, epoch: int) -> list[tuple[str, float, int]]:
    """The name, value and number of samples of each metric of one network."""
    split = runs.split(spec)
    test, train = runs.outputs(spec, epoch, "test"), runs.outputs(spec, epoch, "train")
    fine_tuning = train.where(split.is_seen(train.labels))
    means = class_means(train.features, train.labels, split.num_classes)
    probe = accuracies(ncm_scores(test.features, means), test.labels, split)
    n_seen = int(split.is_seen(test.labels).sum())
    n = {"s": n_seen, "u": len(test.labels) - n_seen, "y": len(test.labels)}
    measured = accuracies(test.logits, test.labels, split)
    top5 = top_k_accuracies(test.logits, test.labels, split)
    measured |= {key: value for key, value in top5.items() if not math.isnan(value)}
    measured |= {f"ncm_{key}": value for key, value in probe.items()}
    measured |= softmax_decomposition(test.logits, test.labels, split).summary()
    measured["ausuc"] = seen_absent_curve(test.logits, test.labels, split).ausuc
    rows = [(metric, value, n[METRICS[metric].group]) for metric, value in measured.items()]
    gap = average_logit_gap(fine_tuning.logits, fine_tuning.labels, split)
    return [*rows, ("alg", gap, len(fine_tuning.labels))]


def checkpoints_only(runs: RunSet, by_epoch: pd.DataFrame) -> pd.DataFrame:
    """The first and last epoch of a table by epoch, with a column checkpoint in place of epoch."""
    epochs = runs.specs[0].epochs
    ends = by_epoch[by_epoch["epoch"].isin([0, epochs])]
    return ends.assign(checkpoint=ends["epoch"].map({0: PRE_TRAINED, epochs: FINE_TUNED})).drop(columns="epoch")


def seen_confusions(runs: RunSet) -> pd.DataFrame:
    """The seen classes predicted for absent samples after fine-tuning: columns seed, absent, seen, taken, of.

    `taken` counts the test samples of one absent class that are predicted as one seen class, `of` all samples of the
    absent class.
    """
    names = runs.manifest.class_names
    rows = []
    for spec in runs.specs:
        test = runs.outputs(spec, spec.epochs, "test")
        total = test.labels.bincount(minlength=len(names)).tolist()
        confusions = confusion.seen_confusions(test.logits, test.labels, runs.split(spec))
        for absent, seen, taken in confusions.tolist():
            rows.append((spec.seed, names[absent], names[seen], taken, total[absent]))
    return pd.DataFrame(rows, columns=["seed", "absent", "seen", "taken", "of"])
