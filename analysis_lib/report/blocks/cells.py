"""Rows, titles and formats that the tables of all pages share."""

import pandas as pd

from ...analysis.gamma.estimators import AUTO, ESTIMATORS, ORACLE
from ...core.errors import UserError
from ..markdown import number, spread

PERCENT = {"digits": 1, "scale": 100}
PRE_TRAINED, BATCHNORM_ONLY, FINE_TUNED = "pre-trained", "BatchNorm only", "fine-tuned"
STAR = "gamma* (*oracle*)"
MEASURES = {  # metric: label, format
    "gamma": ("gamma", {}),
    "acc_sy": ("seen among all, Acc_S/Y", PERCENT),
    "acc_uy": ("absent among all, Acc_U/Y", PERCENT),
    "acc_yy": ("all, Acc_Y/Y", PERCENT),
    "share": ("recovered gain: share of the oracle's gain in Acc_Y/Y", {}),
    "acc_ss": ("seen among seen, Acc_S/S", PERCENT),
    "acc_uu": ("absent among absent, Acc_U/U", PERCENT),
    "ncm_acc_sy": ("features, NCM Acc_S/Y (*oracle* means)", PERCENT),
    "ncm_acc_uy": ("features, NCM Acc_U/Y (*oracle* means)", PERCENT),
    "ausuc": ("AUSUC (0 to 100)", PERCENT),
    "p_absent_u": ("mean P(U given x) of absent samples", PERCENT),
    "confusion_u": ("absent samples that end in a seen class", PERCENT),
    "ece_y": ("calibration error of confidences (ECE)", PERCENT),
    "ece_u": ("the same, absent samples", PERCENT),
}


def find(frame: pd.DataFrame, **wanted: object) -> pd.Series:
    """The one row whose columns have the wanted values. Raises UserError where there is none, or several."""
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    if len(frame) != 1:
        named = ", ".join(f"{column} {value!r}" for column, value in wanted.items())
        raise UserError(f"the reference has {len(frame)} rows with {named}; expected one, so name another")
    return frame.iloc[0]


def maybe(frame: pd.DataFrame, digits: int = 2, scale: float = 1, **wanted: object) -> str:
    """`mean ± std` of the wanted row, or nothing where there is no such row."""
    try:
        return spread(find(frame, **wanted), digits, scale)
    except UserError:
        return ""


def title(method: str) -> str:
    """An estimator's name on a page: what `auto` takes is bold, and *oracle* and *transductive* stand out."""
    if method not in ESTIMATORS:
        return method.replace("(oracle)", "(*oracle*)")
    if method == ORACLE:
        return STAR
    plain = ESTIMATORS[method].title.replace("\n", " ").replace("(transductive)", "(*transductive*)")
    return f"**{plain}** (`auto`)" if method in AUTO else plain


def seeds(frame: pd.DataFrame) -> str:
    """How many seeds stand behind a table, for its first head cell: `n = 3 seeds`."""
    count = int(frame["n_seeds" if "n_seeds" in frame else "n"].max())
    return f"n = {count} seed{'s' * (count > 1)}"


def verdict(row: pd.Series) -> str:
    """The verdict of a claim, bold where there is one."""
    return row["verdict"] if row["verdict"] == "undecided" else f"**{row['verdict']}**"


def p_value(row: pd.Series) -> str:
    """The corrected p value of a claim, with three digits."""
    return "< 0.001" if row["p"] < 0.001 else number(row["p"], digits=3)
