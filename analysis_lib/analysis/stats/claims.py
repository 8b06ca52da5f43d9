"""Claims about fine-tuning as decision rules: each names one difference and the side of a bound where it should lie.

Claims that answer one question form a family, and the p values of a family are corrected by Holm's method: the smallest
is multiplied by the number of claims, the next by one less, and so on. A claim *holds* if its corrected p value is at
most 0.05 and its difference lies on the claimed side of the bound. It *does not hold* if the difference then lies on
the other side. Otherwise it is *undecided*, also if there is no interval or one of width 0, which says nothing about
the uncertainty. As far as the intervals cover, the chance that any verdict of a family is wrong is at most 5 %. A
verdict needs a 95 % interval that excludes the bound, but that alone may not be enough for one.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...core.errors import UserError
from .intervals import p_values

KEEPS = -0.02  # "does not drop": by two points at most
LEVEL = 0.05
COLUMNS = ["claim", "family", "verdict", "quantity", "side", "bound", "mean", "low", "high", "p"]
COLUMNS += ["n_samples", "n_seeds", "interval", "source"]


@dataclass(frozen=True)
class State:
    """A network: its checkpoint, and the method that shifts its absent logits, if any."""

    checkpoint: str
    method: str = ""

    def __str__(self) -> str:
        return f"{self.checkpoint}, {self.method}" if self.method else self.checkpoint


@dataclass(frozen=True)
class Contrast:
    """The difference a - b of one metric between two states."""

    a: State
    b: State
    metric: str

    def __str__(self) -> str:
        return f"{self.a} - {self.b}: {self.metric}"


@dataclass(frozen=True)
class Level:
    """One metric of a state, of the targets of the explanation, or of a predictor (Spearman's correlation)."""

    of: State | str
    metric: str

    def __str__(self) -> str:
        return f"{self.of}: {self.metric}"


@dataclass(frozen=True)
class Claim:
    """A decision rule.

    family : the claims that are corrected together.
    statement : in words.
    quantity : a row of the evidence.
    side : `above` or `below` the bound.
    source : where the claim comes from.
    """

    family: str
    statement: str
    quantity: Contrast | Level
    side: str
    bound: float
    source: str


PRE_TRAINED, BATCHNORM_ONLY, FINE_TUNED = "pre-trained", "BatchNorm only", "fine-tuned"
STAR = "gamma* (oracle)"
BEFORE, AFTER = State(PRE_TRAINED, "none"), State(FINE_TUNED, "none")
BEST_BEFORE, BEST_AFTER = State(PRE_TRAINED, STAR), State(FINE_TUNED, STAR)
NAMED = (
    ("ALG", "alg", "paper, calibration"),
    ("PCV", "pcv", "paper, calibration"),
    ("stand_in", "stand_in", "ours"),
    ("transported_cv", "transported_cv", "ours"),
)
TARGETS, SPEARMAN = "targets", "Spearman"


def change(metric: str, since: str = PRE_TRAINED) -> Contrast:
    """The difference of one metric, fine-tuned minus `since`, without a shift. Source: ours."""
    return Contrast(State(FINE_TUNED), State(since), metric)


CLAIMS = (
    Claim(
        "fine-tuning",
        "fine-tuning raises accuracy on the seen classes",
        change("acc_sy"),
        "above",
        0,
        "paper, abstract",
    ),
    Claim(
        "fine-tuning",
        "fine-tuning lowers accuracy on the absent classes",
        change("acc_uy"),
        "below",
        0,
        "paper, abstract",
    ),
    Claim(
        "fine-tuning",
        "absent classes are told apart no worse than before",
        change("acc_uu"),
        "above",
        KEEPS,
        "paper, abstract (a)",
    ),
    Claim(
        "fine-tuning",
        "absent-class features do not degrade (NCM)",
        change("ncm_acc_uy"),
        "above",
        KEEPS,
        "paper, abstract (b)",
    ),
    Claim(
        "fine-tuning",
        "absent-class features improve (NCM)",
        change("ncm_acc_uy"),
        "above",
        0,
        "paper, abstract (b): often",
    ),
    Claim("fine-tuning", "P(U|x) of absent samples falls", change("p_absent_u"), "below", 0, "paper, figs 4 and 5"),
    Claim("calibration", "the seen-absent curve rises (AUSUC)", change("ausuc"), "above", 0, "paper, calibration"),
    Claim(
        "calibration",
        "the best constant (oracle) beats the best-shifted pre-trained model over all classes",
        Contrast(BEST_AFTER, BEST_BEFORE, "acc_yy"),
        "above",
        0,
        "ours",
    ),
    *(
        Claim(
            "calibration",
            f"{title} beats no shift over all classes",
            Contrast(State(FINE_TUNED, method), AFTER, "acc_yy"),
            "above",
            0,
            source,
        )
        for title, method, source in NAMED
    ),
    *(
        Claim(
            "calibration",
            f"{title} beats the best-shifted pre-trained model over all classes",
            Contrast(State(FINE_TUNED, method), BEST_BEFORE, "acc_yy"),
            "above",
            0,
            source,
        )
        for title, method, source in NAMED
    ),
    Claim(
        "head",
        "seen weight norms grow against absent ones",
        change("weight_norm_s - weight_norm_u"),
        "above",
        0,
        "paper, weight norms",
    ),
    Claim(
        "head",
        "absent head rows move more alike than seen ones",
        Level(FINE_TUNED, "update_uu - update_ss"),
        "above",
        0,
        "paper, update similarity",
    ),
    Claim(
        "head",
        "relations among absent head rows change less than among seen ones",
        Level(FINE_TUNED, "relation_change_s - relation_change_u"),
        "above",
        0,
        "paper, abstract (a)",
    ),
    Claim(
        "head",
        "the logit gap on absent samples grows by angles more than by norms",
        change("angle_part - norm_part"),
        "above",
        0,
        "ours",
    ),
    Claim(
        "BatchNorm control",
        "weights add to BatchNorm statistics: absent classes are told apart better",
        change("acc_uu", BATCHNORM_ONLY),
        "above",
        0,
        "ours",
    ),
    Claim(
        "BatchNorm control",
        "weights add to BatchNorm statistics: absent-class features improve (NCM)",
        change("ncm_acc_uy", BATCHNORM_ONLY),
        "above",
        0,
        "ours",
    ),
    Claim(
        "BatchNorm control",
        "weights add to BatchNorm statistics: better over all classes, each with its best constant (oracle)",
        Contrast(BEST_AFTER, State(BATCHNORM_ONLY, STAR), "acc_yy"),
        "above",
        0,
        "ours",
    ),
    Claim(
        "BatchNorm control",
        "weights add to BatchNorm statistics: the seen-absent curve rises (AUSUC)",
        change("ausuc", BATCHNORM_ONLY),
        "above",
        0,
        "ours",
    ),
    Claim(
        "explanation",
        "absent samples move in a common direction",
        Level(TARGETS, "common"),
        "above",
        0,
        "paper, explanation",
    ),
    Claim(
        "explanation",
        "seen classes of higher kernel similarity than usual move an absent sample more than usual",
        Level(TARGETS, "rank_kernel"),
        "above",
        0,
        "paper, explanation",
    ),
    Claim(
        "explanation",
        "seen classes of nearer features than usual move an absent sample more than usual",
        Level(TARGETS, "rank_cosine"),
        "above",
        0,
        "ours",
    ),
    Claim(
        "explanation",
        "the first step widens the NCM margin of absent samples",
        Level(TARGETS, "margin_change"),
        "above",
        0,
        "paper, explanation",
    ),
    Claim(
        "explanation",
        "the first step points the way of the whole fine-tuning more than one with permuted labels",
        Level(TARGETS, "lasting - lasting_permuted"),
        "above",
        0,
        "ours",
    ),
    Claim(
        "prediction",
        "feature nearness to a seen class predicts an absent class's gain in margin",
        Level(SPEARMAN, "feature_cosine"),
        "above",
        0,
        "ours",
    ),
    Claim(
        "prediction",
        "kernel similarity to a seen class predicts an absent class's gain in margin",
        Level(SPEARMAN, "kernel"),
        "above",
        0,
        "ours",
    ),
    Claim(
        "prediction",
        "the first-order margin change predicts an absent class's gain in margin",
        Level(SPEARMAN, "first_order"),
        "above",
        0,
        "ours",
    ),
)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's corrected p values of one family; NaN, of a claim that cannot be tested, counts as 1 and stays NaN.

    Source: Holm 1979.
    """
    known = np.nan_to_num(p, nan=1)
    order = np.argsort(known)
    corrected = np.empty(len(known))
    corrected[order] = np.maximum.accumulate(known[order] * np.arange(len(known), 0, -1)).clip(max=1)
    return np.where(np.isnan(p), np.nan, corrected)


def verdict(mean: float, p: float, side: str, bound: float) -> str:
    """`holds`, `does not hold` or `undecided`, from a difference and its corrected p value. Source: ours."""
    if not p <= LEVEL:
        return "undecided"
    lies = "above" if mean > bound else "below"
    return "holds" if lies == side else "does not hold"


def judge(evidence: pd.DataFrame, claims: tuple[Claim, ...] = CLAIMS) -> pd.DataFrame:
    """Every claim with its difference and verdict.

    evidence : a row per `quantity`, a Contrast or a Level, with n_samples, n_seeds and the columns of
    `intervals.estimate`. Returns columns claim, family, verdict, quantity, side, bound, mean, low, high, p (two-sided,
    corrected by Holm in the claim's family), n_samples, n_seeds, interval, source. low and high are the uncorrected
    95 % interval. Raises UserError when the evidence lacks a quantity. Source: the claims name theirs; the rule is
    ours.
    """
    found = evidence.set_index("quantity")
    if missing := [str(claim.quantity) for claim in claims if claim.quantity not in found.index]:
        raise UserError(f"the evidence has no row {missing[0]!r}; measure it first, or leave the claim out")
    table = pd.DataFrame(
        {
            "claim": [claim.statement for claim in claims],
            "family": [claim.family for claim in claims],
            "quantity": [claim.quantity for claim in claims],
            "side": [claim.side for claim in claims],
            "bound": [claim.bound for claim in claims],
        }
    )
    numbers = found.loc[table["quantity"]].reset_index(drop=True)
    p = pd.Series(p_values(numbers, table["bound"].to_numpy(float)))
    table["p"] = p.groupby(table["family"]).transform(holm)
    table = table.join(numbers)
    table["verdict"] = [verdict(*row) for row in zip(table["mean"], table["p"], table["side"], table["bound"])]
    table["source"] = [claim.source for claim in claims]
    return table[COLUMNS]
