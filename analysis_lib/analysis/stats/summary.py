"""Summaries of tables with one row per seed: means with their n, changes with intervals, and texts of both."""

from collections.abc import Sequence

import pandas as pd
from scipy.special import stdtrit


def over_seeds(df: pd.DataFrame, by: Sequence[str], value: str = "value") -> pd.DataFrame:
    """Mean, standard deviation (n - 1) and n over seeds of `value` for each combination of the columns `by`.

    The standard deviation is NaN for a single seed.
    """
    return df.groupby(list(by), sort=False)[value].agg(mean="mean", std="std", n="count").reset_index()


def change(
    df: pd.DataFrame, before: str, after: str, column: str, by: Sequence[str], value: str = "value"
) -> pd.DataFrame:
    """Paired change per seed from `before` to `after` (values of `column`), for each combination of `by`.

    Columns: `by`, mean, std, n, low, high: a 95 % Student interval of the mean over seeds; NaN for a single seed.
    """
    wide = df.pivot(index=["seed", *by], columns=column, values=value)
    difference = (wide[after] - wide[before]).rename("change").reset_index()
    return student(over_seeds(difference, by, "change"))


def student(table: pd.DataFrame) -> pd.DataFrame:
    """A means table with low and high: the 95 % Student interval of each mean over seeds; NaN for a single seed."""
    half = stdtrit(table["n"] - 1, 0.975) * table["std"] / table["n"] ** 0.5
    return table.assign(low=table["mean"] - half, high=table["mean"] + half)


def percent(table: pd.DataFrame) -> pd.Series:
    """`mean ± std (n)` in percent, as text with fixed digits; without a spread for a single seed."""

    def text(row: pd.Series) -> str:
        spread = f" ± {100 * row['std']:.1f}" if row["n"] > 1 else ""
        return f"{100 * row['mean']:.1f}{spread} (n={row['n']:.0f})"

    return table.apply(text, axis=1)


def verdicts(changes: pd.DataFrame, by: Sequence[str]) -> str:
    """Changes of accuracies in words, one line per row of a table with columns mean, low, high, and n or n_seeds.

    A line is named by the columns `by`. It says `falls` or `rises` if the interval excludes zero, else `undecided`.
    """

    def verdict(row: pd.Series) -> str:
        word = "undecided"
        if row["high"] < 0:
            word = "falls"
        elif row["low"] > 0:
            word = "rises"
        name = ", ".join(row[column] for column in by)
        seeds = row["n_seeds"] if "n_seeds" in row else row["n"]
        return (
            f"{name}: {word}, {100 * row['mean']:+.1f} points, 95 % interval [{100 * row['low']:+.1f}, "
            f"{100 * row['high']:+.1f}], n={seeds:.0f} seeds"
        )

    return "\n".join(verdict(row) for _, row in changes.iterrows())


def grid(table: pd.DataFrame, index: Sequence[str], columns: str) -> pd.DataFrame:
    """A means table as a grid of `percent` texts, in the table's own order."""
    texts = table.assign(text=percent(table)).set_index([*index, columns])["text"]
    return texts.unstack(sort=False).rename_axis(columns=None)
