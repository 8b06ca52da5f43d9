"""Tables of docs/methods.md: fine-tuning methods compared."""

from collections.abc import Callable

import pandas as pd

from ...analysis.gamma.estimators import NONE, ORACLE
from ...methods import METHODS
from ..markdown import interval, number, spread, table
from .cells import PERCENT, STAR, find, maybe, seeds

NAMES = {name: method.title for name, method in METHODS.items()}


def named(method: str) -> str:
    """A method's title; a network that no method trained keeps its name."""
    return NAMES.get(method, f"*{method}*")


def methods(ref, lr: str) -> str:
    """Every method at one learning rate: accuracies without a shift, over all classes with each shift, and AUSUC."""
    found = ref.table("11_methods")
    found = found[found["lr"] == float(lr)]
    area = found.query("metric == 'ausuc' and treatment == 'none'").sort_values("mean", ascending=False)
    rows = []
    for name in area["method"]:
        own = found[found["method"] == name]
        plain = [maybe(own, treatment=NONE, metric=metric, **PERCENT) for metric in ("acc_sy", "acc_uy", "acc_yy")]
        shifted = [maybe(own, treatment=way, metric="acc_yy", **PERCENT) for way in ("stand_in", ORACLE)]
        features = maybe(own, treatment="ncm (oracle)", metric="acc_uy", **PERCENT)
        rows.append([named(name), *plain, *shifted, maybe(own, treatment=NONE, metric="ausuc", **PERCENT), features])
    shifts = ["Acc_Y/Y, stand-ins", f"Acc_Y/Y, {STAR}"]
    head = ["Acc_S/Y", "Acc_U/Y", "Acc_Y/Y", *shifts, "AUSUC", "NCM Acc_U/Y (*oracle*)"]
    return table(rows, [f"learning rate {lr} ({seeds(found)})", *head])


def method_differences(ref, lr: str) -> str:
    """Every method minus plain fine-tuning with the same treatment, at one learning rate, with intervals."""
    found = ref.table("11_differences")
    found = found[found["lr"] == float(lr)]
    columns = {
        "Acc_U/Y without a shift": {"treatment": NONE, "metric": "acc_uy"},
        "Acc_Y/Y without a shift": {"treatment": NONE, "metric": "acc_yy"},
        f"Acc_Y/Y, each with its {STAR}": {"treatment": ORACLE, "metric": "acc_yy"},
        "AUSUC": {"treatment": NONE, "metric": "ausuc"},
    }
    rows = []
    for name in found.query("metric == 'ausuc'").sort_values("mean", ascending=False)["method"]:
        picked = (find(found, method=name, **wanted) for wanted in columns.values())
        rows.append([named(name), *(interval(row, sign=True, **PERCENT) for row in picked)])
    return table(rows, [f"minus plain fine-tuning, learning rate {lr} ({seeds(found)})", *columns])


def method_claims(ref) -> str:
    """How many methods plain fine-tuning with one constant beats, family by family."""
    found = ref.table("11_claims")
    rows = []
    for (lr, family), own in found.groupby(["lr", "family"], sort=False):
        counts = own["verdict"].value_counts()
        beaten_by = [named(name) for name in own[own["verdict"] == "does not hold"]["method"]]
        verdicts = [str(counts.get(verdict, 0)) for verdict in ("holds", "undecided", "does not hold")]
        rows.append([f"{lr:g}", family, *verdicts, ", ".join(beaten_by)])
    return table(rows, ["learning rate", f"family ({seeds(found)})", "holds", "undecided", "does not hold", "against"])


def method_choice(ref) -> str:
    """The options among which was chosen on development seeds: the area under the curve of each, the choice in bold."""
    return choices(ref.table("11_choice"), named, "value")


def choices(found: pd.DataFrame, named: Callable[[str], str], values: str) -> str:
    """A row for each method of a choice, with AUSUC at every value."""
    rows = []
    for name, own in found.groupby("method", sort=False):
        texts = []
        for _, row in own.iterrows():
            text = number(row["ausuc"], **PERCENT)
            if not pd.isna(row["value"]):
                text = f"{row['value']:g}: {text}"
            texts.append(f"**{text}**" if row["chosen"] and len(own) > 1 else text)
        option = "" if pd.isna(own["option"].iloc[0]) else f"`{own['option'].iloc[0]}`"
        rows.append([named(name), option, ", ".join(texts)])
    return table(rows, [f"method (n = {int(found['n'].max())} development seeds)", "option", f"{values}: AUSUC"])


def method_costs(ref) -> str:
    """What a step costs, relative to plain fine-tuning, on the machine of the reference."""
    return costs(ref.table("11_costs"), named)


def costs(found: pd.DataFrame, named: Callable[[str], str]) -> str:
    """A row for each method: the time of a step as a multiple of plain fine-tuning's, and its further memory."""
    rows = [
        [named(row["method"]), number(row["times"]), number(row["extra_mb"], digits=0, sign=True)]
        for _, row in found.iterrows()
    ]
    return table(rows, ["n = 1 process, 5 steps", "time of a step", "more memory (MB)"])


def wise(ref) -> str:
    """WiSE over alpha, over all classes, without a shift and with two."""
    found = ref.table("11_wise")
    rows = []
    for (lr, alpha), own in found.groupby(["lr", "alpha"]):
        means = own.groupby("treatment")["acc_yy"].agg(["mean", "std"]).reset_index()
        ways = [maybe(means, treatment=way, **PERCENT) for way in (NONE, "stand_in", ORACLE)]
        area = own[own["treatment"] == NONE]["ausuc"].agg(["mean", "std"])
        rows.append([f"{lr:g}", f"{alpha:g}", *ways, spread(area, **PERCENT)])
    head = ["Acc_Y/Y without a shift", "Acc_Y/Y, stand-ins", f"Acc_Y/Y, {STAR}", "AUSUC"]
    return table(rows, ["learning rate", f"alpha (n = {found['seed'].nunique()} seeds)", *head])


def forgetting(ref) -> str:
    """The change of the linear probe and of the nearest class mean on another task, method by method."""
    found = ref.table("11_forgetting")
    rows = []
    for (name, task), own in found.groupby(["method", "task"], sort=False):
        changes = [interval(find(own, metric=metric), sign=True, **PERCENT) for metric in ("lp", "ncm")]
        rows.append([named(name), task.replace("_", " "), *changes])
    head = ["task", "linear probe, points", "nearest class mean, points"]
    return table(rows, [f"{seeds(found)}, {int(found['n'].max())} images", *head])


def sequence(ref) -> str:
    """Three tasks one after another: mean accuracy at the end, forgetting and transfer, in points."""
    found = ref.table("11_sequence_summary").query("task == 'mean'")
    means = found.groupby(["method", "metric"], sort=False)["value"].agg(["mean", "std"]).reset_index()
    rows = []
    for name in means["method"].unique():
        own = means[means["method"] == name]
        rows.append([named(name), *(maybe(own, metric=m, **PERCENT) for m in ("final", "forgetting", "transfer"))])
    head = ["mean accuracy at the end", "forgetting", "transfer"]
    return table(rows, [f"n = {found['seed'].nunique()} seeds", *head])
