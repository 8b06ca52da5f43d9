"""Tables of docs/estimators.md: estimates of gamma."""

from ...analysis.gamma.estimators import (
    ESTIMATORS,
    HALVES,
    LABELS,
    MATCHED_STAND_IN,
    NONE,
    ORACLE,
    PRETRAINED,
    THIRDS,
    UNLABELLED,
)
from ..markdown import interval, number, table
from .cells import PERCENT, find, seeds, title

NEEDS = {
    PRETRAINED: "pre-trained model",
    HALVES: "3 runs on half of the seen classes",
    THIRDS: "3 runs on two thirds of the seen classes",
    UNLABELLED: "unlabelled target images",
    LABELS: "their labels",
}
CELL_SUMMARIES = ("median", "worst")


def needs_of(method: str) -> frozenset[str]:
    """What an estimator needs; the cross-fitted oracle, none of `ESTIMATORS`, needs what the oracle does."""
    return ESTIMATORS.get(method, ESTIMATORS[ORACLE]).needs


def estimators(ref) -> str:
    """The regret of each estimate of gamma: in each setting, their median and the worst, and the recovered gain."""
    found = ref.table("09_regrets")
    settings = [cell for cell in found["cell"].unique() if cell not in CELL_SUMMARIES]
    rows = []
    for method in found["method"].unique():
        own = found[found["method"] == method]
        needs = ", ".join(text for need, text in NEEDS.items() if need in needs_of(method)) or "nothing more"
        regrets = [
            interval(find(own, cell=cell, measure="regret"), value="value", scale=100, digits=2)
            for cell in (*settings, *CELL_SUMMARIES)
        ]
        share = number(find(own, cell="worst", measure="recovered_gain")["value"])
        rows.append([title(method), needs, *regrets, share])
    heads = [*settings, "median", "worst", "least recovered gain"]
    return table(rows, [f"estimator ({seeds(found)})", "needs beside the fine-tuned model and its data", *heads])


def label_shift(ref) -> str:
    """The regret in points where a share of the images is absent, for estimates told the share of the classes or
    another.
    """
    found = ref.table("09_label_shift_regret")
    columns = {
        "no shift": ("nothing", NONE),
        "stand-ins, share of the classes": ("classes", "stand_in"),
        "stand-ins, true share": ("true", "stand_in"),
        "stand-ins, estimated share": ("estimated", "stand_in"),
        "matched with stand-ins, share of the classes": ("classes", MATCHED_STAND_IN),
        "matched with stand-ins, true share": ("true", MATCHED_STAND_IN),
        "matched with stand-ins, estimated share": ("estimated", MATCHED_STAND_IN),
    }
    rows = []
    for share, own in found.groupby("absent_share"):
        picked = (find(own, told=told, method=method) for told, method in columns.values())
        rows.append([f"{100 * share:.0f} %", *(interval(row, value="regret", **PERCENT) for row in picked)])
    return table(rows, [f"absent images ({seeds(found)})", *columns])


def absent_share(ref) -> str:
    """How far estimates of the absent share are from the truth, in points, and how often the interval holds it."""
    found = ref.table("09_absent_share_errors")
    ways = list(found["estimate"].unique())
    rows = []
    for share, own in found.groupby("absent_share"):
        errors = []
        for way in ways:
            row = find(own, estimate=way)
            errors.append(f"{number(row['bias'], sign=True, **PERCENT)} ± {number(row['spread'], **PERCENT)}")
        covered = own.dropna(subset="covered")
        covers = ", ".join(f"{number(row['covered'])}" for _, row in covered.iterrows())
        rows.append([f"{100 * share:.0f} %", *errors, covers])
    with_interval = found.dropna(subset="covered")["estimate"].unique()
    head = [f"absent images (n = {int(found['n'].max())} pools)", *ways, f"interval covers: {', '.join(with_interval)}"]
    return table(rows, head)
