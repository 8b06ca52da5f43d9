"""The evidence for the claims: one table of differences and means with their intervals."""

import pandas as pd

from ..analysis.stats import intervals, summary
from ..analysis.stats.claims import FINE_TUNED, SPEARMAN, TARGETS, Level
from ..runs.run_set import RunSet
from . import calibration, first_step, gain_prediction, head, uncertainty
from .accuracy import checkpoints_only

COLUMNS = ["quantity", "mean", "low", "high", *intervals.ERRORS, "n_samples", "n_seeds", "interval"]


def gather(runs: RunSet) -> pd.DataFrame:
    """The evidence for `analysis.stats.claims.judge`.

    Columns: quantity (a Contrast or a Level), those of `intervals.estimate`, n_samples, n_seeds. Every interval follows
    the rule of `analysis.stats.intervals`: differences of accuracies, AUSUC and rank correlations have a seed part and
    a class part, metrics of the head only a seed part, and means over targets, which are those of the first seed, only
    a class part.
    """
    by_epoch = head.head_by_epoch(runs)
    ends = checkpoints_only(runs, by_epoch).dropna(subset="value")
    parts = [
        uncertainty.evidence(runs, calibration.calibrations(runs), ends),
        _last(runs, by_epoch),
        _targets(runs),
        _predictions(runs),
    ]
    return pd.concat(parts, ignore_index=True)[COLUMNS].astype({"n_samples": "Int64"})


def _last(runs: RunSet, head: pd.DataFrame) -> pd.DataFrame:
    """Metrics of the head after fine-tuning, which have no value before."""
    epochs = runs.specs[0].epochs
    table = intervals.over_seeds_only(summary.over_seeds(head[head["epoch"] == epochs], ["metric"]))
    return table.assign(quantity=[Level(FINE_TUNED, metric) for metric in table["metric"]], n_seeds=table["n"])


def _targets(runs: RunSet) -> pd.DataFrame:
    """Means over the targets of the first seed."""
    table = first_step.target_means(runs, runs.specs[0])
    return table.assign(quantity=[Level(TARGETS, metric) for metric in table["metric"]])


def _predictions(runs: RunSet) -> pd.DataFrame:
    """Rank correlations of each predictor with the gain in margin."""
    tables = [gain_prediction.by_class(runs, spec) for spec in runs.specs]
    found = gain_prediction.correlations(tables).query("outcome == 'margin_gain'")
    return found.assign(
        quantity=[Level(SPEARMAN, predictor) for predictor in found["predictor"]], n_samples=found["n_classes"]
    )
