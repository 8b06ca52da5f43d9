"""Tables of docs/ablations.md: the cells of each sweep, and the statements about them."""

import math

from ...analysis.gamma.estimators import NONE, ORACLE
from ..markdown import interval, number, table
from .cells import PERCENT, STAR, find, p_value, seeds, verdict

CELLS, CLAIMS = "08_cells", "08_claims"


def ablation(ref, study: str) -> str:
    """The cells of a sweep: accuracies without a shift, with gamma*, by NCM, and AUSUC, with intervals."""
    found = ref.table(CELLS)
    found = found[found["study"] == study]
    columns = {
        "Acc_S/Y": {"treatment": NONE, "metric": "acc_sy"},
        "Acc_U/Y": {"treatment": NONE, "metric": "acc_uy"},
        "AUSUC": {"treatment": NONE, "metric": "ausuc"},
        f"Acc_Y/Y, {STAR}": {"treatment": ORACLE, "metric": "acc_yy"},
        "NCM Acc_U/Y (*oracle*)": {"treatment": "ncm (oracle)", "metric": "acc_uy"},
    }
    rows = []
    for cell in found["cell"].unique():
        own = found[found["cell"] == cell]
        rows.append([cell, *(interval(find(own, **wanted), **PERCENT) for wanted in columns.values())])
    return table(rows, [f"cell ({seeds(found)})", *columns])


def ablation_changes(ref, study: str) -> str:
    """What fine-tuning changes in each cell of a sweep, in points with intervals."""
    found = ref.table(CELLS)
    found = found[(found["study"] == study) & (found["treatment"] == "change by fine-tuning")]
    columns = {"acc_uy": "Acc_U/Y", "acc_uu": "Acc_U/U", "ncm_acc_uy": "NCM Acc_U/Y (*oracle*)", "ausuc": "AUSUC"}
    rows = []
    for cell in found["cell"].unique():
        own = found[found["cell"] == cell]
        picked = [find(own, metric=metric) for metric in columns]
        rows.append([cell, *(interval(row, sign=True, **PERCENT) for row in picked)])
    return table(rows, [f"change by fine-tuning, points ({seeds(found)})", *columns.values()])


def ablation_grid(ref, study: str, rows: str, columns: str, metric: str = "ausuc", treatment: str = NONE) -> str:
    """Means of one metric over two fields of a sweep, in percent: the others, such as weight decay, lie in the rows."""
    found = ref.table(CELLS)
    found = found[(found["study"] == study) & (found["treatment"] == treatment) & (found["metric"] == metric)]
    across = sorted(found[columns].unique())
    names = rows.split(",")
    lines = []
    for place, own in found.groupby(names, sort=False):
        values = own.set_index(columns)["mean"].reindex(across)
        lines.append([*(f"{each:g}" if isinstance(each, float) else each for each in place), *map(_percent, values)])
    words = [name.replace("_", " ") for name in names]
    head = [f"{words[0]} ({seeds(found)})", *words[1:], *(f"{columns} {value:g}" for value in across)]
    return table(lines, head)


def ablation_claims(ref, study: str) -> str:
    """The decision rules of a sweep, in points."""
    found = ref.table(CLAIMS)
    rows = []
    for _, row in found[found["study"] == study].iterrows():
        rule = f"{row['side']} {number(row['bound'], digits=0, scale=100, sign=True)}"
        count = f"{row['n_samples']:.0f} x {row['n_seeds']:.0f}"
        rows.append(
            [row["claim"], verdict(row), interval(row, sign=True, **PERCENT), rule, p_value(row), count, row["source"]]
        )
    head = ["statement", "verdict", "points [95 % interval]", "rule", "p (Holm)", "n (samples x seeds)", "source"]
    return table(rows, head)


def collapse(ref) -> str:
    """The first stored epoch at which Acc_U/Y is below half of the pre-trained one, for every learning rate."""
    found, rows = ref.table("08_collapse"), []
    for (lr, epochs), runs in found.groupby(["lr", "epochs"]):
        below = runs["epoch"].dropna()
        span = f"{below.min():.0f} to {below.max():.0f}" if len(below) else "never"
        rates = runs["rate_sum"].dropna()
        sums = f"{rates.min():.3f} to {rates.max():.3f}" if len(rates) else ""
        rows.append([f"{lr:g}", str(epochs), f"{len(below)} of {len(runs)}", span, sums])
    first = f"learning rate (n = {found['seed'].nunique()} seeds)"
    head = [first, "epochs", "runs that lose half", "epoch, of the first and last run", "sum of rates there"]
    return table(rows, head)


def _percent(value: float) -> str:
    return "" if math.isnan(value) else number(value, **PERCENT)
