"""Tables of docs/temporal.md: accuracies and gamma by period, and the claims about them."""

from ...analysis.gamma.estimators import NONE
from ..markdown import interval, table
from .cells import FINE_TUNED, PERCENT, PRE_TRAINED, maybe, p_value, seeds, title, verdict


def temporal(ref) -> str:
    """Every gamma of the fine-tuned network in every period, and the pre-trained network without a shift."""
    found = ref.table("12_periods")
    found = found[
        (found["checkpoint"] == FINE_TUNED) | ((found["checkpoint"] == PRE_TRAINED) & (found["method"] == NONE))
    ]
    rows = []
    for (period, checkpoint, method), own in found.groupby(["period", "checkpoint", "method"], sort=False):
        name = "*pre-trained*" if checkpoint == PRE_TRAINED else title(method)
        accuracies = [maybe(own, metric=metric, **PERCENT) for metric in ("acc_sy", "acc_uy", "acc_yy", "regret")]
        rows.append([period, name, maybe(own, metric="gamma"), *accuracies, maybe(own, metric="ausuc", **PERCENT)])
    head = ["gamma", "Acc_S/Y", "Acc_U/Y", "Acc_Y/Y", "regret, points", "AUSUC"]
    return table(rows, ["period", f"gamma by ({seeds(found)})", *head])


def temporal_claims(ref) -> str:
    """The decision rules for the last period against the first, in points."""
    rows = []
    for _, row in ref.table("12_claims").iterrows():
        count = f"{row['n_samples']:.0f} x {row['n_seeds']:.0f}"
        rows.append(
            [row["claim"], row["family"], verdict(row), interval(row, sign=True, **PERCENT), p_value(row), count]
        )
    return table(rows, ["claim", "family", "verdict", "points [95 % interval]", "p (Holm)", "n (samples x seeds)"])
