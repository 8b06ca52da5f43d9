"""The one rule for the intervals of claims: seeds and classes are both drawn from more seeds and more classes.

A number comes from K seeds (splits and training runs) and from test samples of C classes. It would come out otherwise
with other seeds, and with other classes and other drawings of them. Both are measured, and neither is trusted more
than its number allows:

- seeds: the standard error of the mean of the K seeds' numbers, with K - 1 degrees of freedom;
- classes: the jackknife standard error from leaving out one class, with all of its drawings, of all seeds at once; its
  degrees of freedom are the classes of the seed with the fewest, less one.

The half-width of the interval is the root of the sum of squares of the two Student half-widths. Where both parts are
normal and independent, such an interval covers at least as often as it says (Banerjee 1960), however few seeds there
are. What varies from seed to seed and class to class counts in both parts, so the interval is rather too wide. A part
that the data cannot give is left out, and the column `interval` says so: a single seed has no seed part, and a number
that does not come from classes has no class part.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from scipy.special import stdtrit

from ...core.errors import UserError

ERRORS = ["seed_error", "seed_df", "class_error", "class_df"]


def leave_one_out(values: Sequence[torch.Tensor], classes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of each metric over its group, and the means without each class, for every seed.

    values : one (M, N) tensor for each of K seeds, NaN if a sample is outside the metric's group; classes : (N,) int64,
    the class of each sample. Returns (K, M) and (K, M, C) float64, C the number of different classes; NaN for a class
    that has no sample in the group, or that is the only one. Raises UserError for seeds that differ in shape. Source:
    ours.
    """
    shapes = [tuple(block.shape) for block in values]
    if len(set(shapes)) != 1 or len(shapes[0]) != 2 or shapes[0][1:] != classes.shape:
        raise UserError(
            f"values have shapes {shapes} and classes {tuple(classes.shape)}; expected one (metrics, samples) shape "
            "for every seed, and the class of each sample"
        )
    names, place = classes.unique(return_inverse=True)
    block = torch.stack(list(values)).double()
    inside = ~block.isnan()
    none = block.new_zeros(*block.shape[:2], len(names))
    totals = none.index_add(2, place, torch.where(inside, block, 0))
    counts = none.index_add(2, place, inside.double())
    total, count = totals.sum(2), counts.sum(2)
    without = (total[..., None] - totals) / (count[..., None] - counts)
    return total / count, without.where(counts > 0, torch.nan)


def estimate(whole: torch.Tensor, without: torch.Tensor | None = None) -> pd.DataFrame:
    """The mean over seeds of each number with its 95 % interval.

    whole : (K, M), M numbers of each seed; without : (K, M, C), the same without each class, NaN for a class that a
    seed's number does not use; None if the numbers do not come from classes. Columns: mean, low, high, `ERRORS` (the
    two standard errors and their degrees of freedom) and interval (which parts are in it). low and high are NaN without
    any part. Source: the jackknife, Tukey 1958; the sum of squares, Banerjee 1960.
    """
    n_seeds, n_numbers = whole.shape
    missing = whole.new_full((n_numbers,), torch.nan)
    seed_error = whole.std(0) / n_seeds**0.5 if n_seeds > 1 else missing
    class_error = class_df = missing
    if without is not None:
        n_classes = (~without.isnan()).sum(2).amin(0)
        change = (without - whole[..., None]).nan_to_num(0).mean(0)
        class_df = (n_classes - 1).double().where(n_classes > 1, torch.nan)
        class_error = (class_df / n_classes * change.square().sum(1)).sqrt()
    table = pd.DataFrame(
        {
            "mean": whole.mean(0),
            "seed_error": seed_error,
            "seed_df": missing if n_seeds == 1 else n_seeds - 1.0,
            "class_error": class_error,
            "class_df": class_df,
        }
    )
    return with_interval(table)


def over_seeds_only(table: pd.DataFrame) -> pd.DataFrame:
    """A means table (columns mean, std, n over seeds) with intervals that have a seed part and no class part."""
    unknown = np.full(len(table), np.nan)
    errors = {"seed_error": table["std"] / table["n"] ** 0.5, "seed_df": table["n"] - 1.0}
    return with_interval(table.assign(**errors, class_error=unknown, class_df=unknown))


def with_interval(table: pd.DataFrame) -> pd.DataFrame:
    """A table with columns mean and `ERRORS` with its 95 % intervals: columns low, high and interval added."""
    half = half_width(table, 0.05)
    seeds, classes = table["seed_error"].notna(), table["class_error"].notna()
    parts = np.select([seeds & classes, seeds, classes], ["seeds and classes", "seeds", "classes"], "")
    table = table.assign(low=table["mean"] - half, high=table["mean"] + half, interval=parts)
    others = [column for column in table if column not in ("mean", "low", "high", *ERRORS, "interval")]
    return table[[*others, "mean", "low", "high", *ERRORS, "interval"]]


def half_width(table: pd.DataFrame, alpha: float | np.ndarray) -> np.ndarray:
    """Half the length of the intervals that miss with chance alpha, from the columns `ERRORS`; NaN without any."""
    seed_error, seed_df, class_error, class_df = (table[name].to_numpy(float) for name in ERRORS)
    # the lower quantiles are exact for small alpha; they are negative, and squared below
    parts = stdtrit(seed_df, alpha / 2) * seed_error, stdtrit(class_df, alpha / 2) * class_error
    without_any = np.isnan(parts[0]) & np.isnan(parts[1])
    return np.where(without_any, np.nan, np.sqrt(np.nansum(np.square(parts), axis=0)))


def p_values(table: pd.DataFrame, bound: float | np.ndarray) -> np.ndarray:
    """The smallest alpha whose interval does not contain the bound, for each row; NaN for an interval of width 0.

    It is the two-sided p value that belongs to the intervals, found by bisection in 60 steps. Source: ours.
    """
    distance = np.abs(table["mean"].to_numpy(float) - bound)
    low, high = np.zeros(len(table)), np.ones(len(table))
    for _ in range(60):
        middle = (low + high) / 2
        outside = half_width(table, middle) < distance
        low, high = np.where(outside, low, middle), np.where(outside, middle, high)
    return np.where(half_width(table, 0.05) > 0, high, np.nan)
