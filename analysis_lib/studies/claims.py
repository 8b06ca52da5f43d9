"""Everything that the claims ask for, gathered from a study: one table of differences and means with their intervals."""

import pandas as pd

from ..analysis.stats import summary
from ..analysis.stats.claims import FINE_TUNED, SPEARMAN, TARGETS, Level
from ..runs.run_set import RunSet
from . import calibration, first_step, gain_prediction, head, uncertainty
from .accuracy import checkpoints_only, metrics_by_epoch

COLUMNS = ["quantity", "mean", "low", "high", "n_samples", "n_seeds", "interval"]


def gather(runs: RunSet) -> pd.DataFrame:
    """The evidence for `analysis.stats.claims.judge`: columns quantity (a Contrast or a Level), mean, low, high, n_samples, n_seeds, interval.

    Differences of accuracies come with a paired bootstrap over test samples and seeds; what is one number per seed
    with a Student interval; means over targets, and rank correlations over classes, with a bootstrap over these. The
    targets are those of the first seed.
    """
    by_epoch = head.head_by_epoch(runs)
    ends = pd.concat([checkpoints_only(runs, table) for table in (metrics_by_epoch(runs).query("metric == 'ausuc'"), by_epoch)])
    parts = [uncertainty.evidence(runs, calibration.calibrations(runs), ends.dropna(subset="value")), _last(runs, by_epoch), _targets(runs), _predictions(runs)]
    return pd.concat(parts, ignore_index=True)[COLUMNS].astype({"n_samples": "Int64"})


def _last(runs: RunSet, head: pd.DataFrame) -> pd.DataFrame:
    """Metrics of the head at the end, which have no before."""
    epochs = runs.specs[0].epochs
    table = summary.student(summary.over_seeds(head[head["epoch"] == epochs], ["metric"]))
    return table.assign(quantity=[Level(FINE_TUNED, metric) for metric in table["metric"]], n_seeds=table["n"], interval="Student")


def _targets(runs: RunSet) -> pd.DataFrame:
    table = first_step.target_means(runs, runs.specs[0])
    interval = table["metric"].map({"common": "jackknife"}).fillna("bootstrap")
    return table.assign(quantity=[Level(TARGETS, metric) for metric in table["metric"]], interval=interval)


def _predictions(runs: RunSet) -> pd.DataFrame:
    found = gain_prediction.correlations([gain_prediction.by_class(runs, spec) for spec in runs.specs], runs.benchmark).query("outcome == 'margin_gain'")
    return found.assign(quantity=[Level(SPEARMAN, predictor) for predictor in found["predictor"]], n_samples=found["n_classes"], interval="bootstrap")
