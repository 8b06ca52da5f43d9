"""Numbers and tables as Markdown text. Fractions become percent here, and a mean never loses its spread."""

import math

import pandas as pd


def number(value: float, digits: int = 2, scale: float = 1, sign: bool = False) -> str:
    """`value` times `scale` with fixed digits, and never `-0.0`; empty for NaN."""
    if math.isnan(value):
        return ""
    rounded = round(scale * value, digits) + 0.0
    return f"{rounded:{'+' if sign else ''}.{digits}f}"


def spread(row: pd.Series, digits: int = 2, scale: float = 1) -> str:
    """`mean ± std` of a row with mean and std; a single value has no spread."""
    mean, std = number(row["mean"], digits, scale), number(row["std"], digits, scale)
    return f"{mean} ± {std}" if std else mean


def interval(row: pd.Series, digits: int = 2, scale: float = 1, value: str = "mean", sign: bool = False) -> str:
    """`value [low, high]` of a row; without the bracket where there is no interval."""
    centre = number(row[value], digits, scale, sign)
    if math.isnan(row["low"]):
        return centre
    return f"{centre} [{number(row['low'], digits, scale, sign)}, {number(row['high'], digits, scale, sign)}]"


def table(rows: list[list[str]], head: list[str]) -> str:
    """A Markdown table. A bar inside a cell is escaped, for it would end the cell."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", r"\|") for cell in line) + " |" for line in lines)
