"""Everything that the claims ask for, gathered from a study: one table of differences and means with their intervals."""

import pandas as pd

from . import explanation, intervals, prediction, shifts, tables, trajectories
from .study import Study, checkpoints_only, metrics_by_epoch

COLUMNS = ["quantity", "mean", "low", "high", "n_samples", "n_seeds", "interval"]


def gather(study: Study) -> pd.DataFrame:
    """The evidence for `claims.judge`: columns quantity, mean, low, high, n_samples, n_seeds, interval.

    Differences of accuracies come with a paired bootstrap over test samples and seeds; what is one number per seed
    with a Student interval; means over targets, and rank correlations over classes, with a bootstrap over these. The
    targets are those of the first seed. Makes what is missing.
    """
    head = trajectories.head_by_epoch(study)
    ends = pd.concat([checkpoints_only(study, table) for table in (metrics_by_epoch(study).query("metric == 'ausuc'"), head)])
    parts = [intervals.evidence(study, shifts.calibrations(study), ends.dropna(subset="value")), _last(study, head), _targets(study), _predictions(study)]
    return pd.concat(parts, ignore_index=True)[COLUMNS].astype({"n_samples": "Int64"})


def _last(study: Study, head: pd.DataFrame) -> pd.DataFrame:
    """Metrics of the head at the end, which have no before."""
    epochs = study.specs[0].epochs
    table = tables.student(tables.over_seeds(head[head["epoch"] == epochs], ["metric"]))
    return table.assign(quantity="fine-tuned: " + table["metric"], n_seeds=table["n"], interval="Student")


def _targets(study: Study) -> pd.DataFrame:
    table = explanation.target_means(study, study.specs[0])
    interval = table["metric"].map({"common": "jackknife"}).fillna("bootstrap")
    return table.assign(quantity="targets: " + table["metric"], interval=interval)


def _predictions(study: Study) -> pd.DataFrame:
    found = prediction.correlations([prediction.by_class(study, spec) for spec in study.specs], study.benchmark).query("outcome == 'margin_gain'")
    return found.assign(quantity="Spearman: " + found["predictor"], n_samples=found["n_classes"], interval="bootstrap")
