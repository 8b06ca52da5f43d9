"""Tables with several benchmarks side by side; `benchmarks` names them, separated by commas."""

import pandas as pd

from ..markdown import interval, table
from ..reference import Reference
from .cells import PERCENT, find, seeds, title, verdict
from .claims import in_points

CELL_SUMMARIES = ("median", "worst")  # of the settings


def claims_beside(ref, benchmarks: str) -> str:
    """The verdict on each claim, with its difference and 95 % interval, on each benchmark."""
    found = {name: Reference(ref.root, name).table("claims") for name in benchmarks.split(",")}
    statements = list(dict.fromkeys(claim for own in found.values() for claim in own["claim"]))
    rows = [[claim, *(_verdict(own, claim) for own in found.values())] for claim in statements]
    return table(rows, ["claim", *(f"{name} ({seeds(own)})" for name, own in found.items())])


def _verdict(own: pd.DataFrame, claim: str) -> str:
    """A verdict and the difference behind it; nothing where the benchmark does not judge the claim."""
    if claim not in set(own["claim"]):
        return ""
    row = find(own, claim=claim)
    return f"{verdict(row)} {interval(row, sign=True, **(PERCENT if in_points(row) else {}))}"


def recovered_beside(ref, benchmarks: str) -> str:
    """The recovered gain of each estimate of gamma, with its 95 % interval, in each setting of each benchmark.

    Empty where the cross-fitted oracle gains nothing, so that there is nothing to recover.
    """
    columns, settings = {}, {}
    for name in benchmarks.split(","):
        own = Reference(ref.root, name).table("09_regrets").query("measure == 'recovered_gain'")
        for cell in own["cell"].unique():
            if cell not in CELL_SUMMARIES:
                columns[name, cell] = own[own["cell"] == cell].set_index("method")
                settings[name, cell] = f"{name}, {cell} ({seeds(own)})"
    methods = list(dict.fromkeys(method for own in columns.values() for method in own.index))
    rows = []
    for method in methods:
        cells = [interval(own.loc[method], value="value") if method in own.index else "" for own in columns.values()]
        rows.append([title(method), *cells])
    return table(rows, ["estimator", *settings.values()])
