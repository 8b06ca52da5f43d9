"""The evidence for the claims: one table of differences and means with their intervals."""

import pandas as pd

from ..analysis.stats import summary
from ..analysis.stats.claims import FINE_TUNED, SPEARMAN, TARGETS, Level
from ..runs.run_set import RunSet
from . import calibration, first_step, gain_prediction, head, uncertainty
from .accuracy import checkpoints_only, metrics_by_epoch

COLUMNS = ["quantity", "mean", "low", "high", "n_samples", "n_seeds", "interval"]


def gather(runs: RunSet) -> pd.DataFrame:
    """The evidence for `analysis.stats.claims.judge`.

    Columns: quantity (a Contrast or a Level), mean, low, high, n_samples, n_seeds, interval. Differences of accuracies
    have a paired bootstrap over test samples and seeds; metrics with one number per seed a Student interval; means over
    targets, and rank correlations over classes, a bootstrap over these. The targets are those of the first seed.
    """
    by_epoch = head.head_by_epoch(runs)
    ausuc = metrics_by_epoch(runs).query("metric == 'ausuc'")
    ends = pd.concat([checkpoints_only(runs, ausuc), checkpoints_only(runs, by_epoch)])
    parts = [
        uncertainty.evidence(runs, calibration.calibrations(runs), ends.dropna(subset="value")),
        _last(runs, by_epoch),
        _targets(runs),
        _predictions(runs),
    ]
    return pd.concat(parts, ignore_index=True)[COLUMNS].astype({"n_samples": "Int64"})


def _last(runs: RunSet, head: pd.DataFrame) -> pd.DataFrame:
    """Metrics of the head after fine-tuning, which have no value before."""
    epochs = runs.specs[0].epochs
    table = summary.student(summary.over_seeds(head[head["epoch"] == epochs], ["metric"]))
    return table.assign(
        quantity=[Level(FINE_TUNED, metric) for metric in table["metric"]], n_seeds=table["n"], interval="Student"
    )


def _targets(runs: RunSet) -> pd.DataFrame:
    """Means over the targets of the first seed."""
    table = first_step.target_means(runs, runs.specs[0])
    interval = table["metric"].map({"common": "jackknife"}).fillna("bootstrap")
    return table.assign(quantity=[Level(TARGETS, metric) for metric in table["metric"]], interval=interval)


def _predictions(runs: RunSet) -> pd.DataFrame:
    """Rank correlations of each predictor with the gain in margin."""
    tables = [gain_prediction.by_class(runs, spec) for spec in runs.specs]
    found = gain_prediction.correlations(tables).query("outcome == 'margin_gain'")
    return found.assign(
        quantity=[Level(SPEARMAN, predictor) for predictor in found["predictor"]], n_samples=found["n_classes"]
    )
