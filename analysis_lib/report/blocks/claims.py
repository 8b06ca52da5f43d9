"""The tables of claims."""

import pandas as pd

from ..markdown import interval, table
from .cells import PERCENT, p_value, verdict


def in_points(row: pd.Series) -> bool:
    """Whether the difference behind a claim is one of accuracies or the like, in percent points."""
    return row["quantity"].split(": ")[-1].startswith(("acc_", "ncm_acc_", "p_absent_", "ausuc"))


def claims(ref) -> str:
    """Every statement with its verdict, its difference with the interval, and the p value that decides."""
    rows = []
    for _, row in ref.table("claims").iterrows():
        points = in_points(row)
        style = PERCENT if points else {}
        samples = "" if pd.isna(row["n_samples"]) else f"{row['n_samples']:.0f} x "
        rows.append(
            [
                row["claim"],
                row["family"],
                verdict(row),
                interval(row, sign=True, **style),
                "points" if points else "",
                p_value(row),
                f"{samples}{row['n_seeds']:.0f}",
            ]
        )
    head = ["claim", "family", "verdict", "difference [95 % interval]", "unit", "p (Holm)"]
    return table(rows, [*head, "n (samples or classes x seeds)"])


def verdicts(ref, verdict: str) -> str:
    """How many claims hold, do not hold or are undecided."""
    return str((ref.table("claims")["verdict"] == verdict).sum())
