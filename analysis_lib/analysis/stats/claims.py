"""Claims about fine-tuning as decision rules: each names one difference and the side of a bound where it should lie.

A claim *holds* if the whole 95 % interval of its difference lies on the claimed side of the bound. It *does not hold*
if the whole interval lies on the other side. Otherwise it is *undecided*, also if there is no interval or one of width
0, which says nothing about the uncertainty. There is no correction for multiple claims: of forty claims that lie
exactly on their bound, one is expected to hold by chance.
"""

from dataclasses import dataclass

import pandas as pd

from ...core.errors import UserError

KEEPS = -0.02  # "does not drop": by two points at most


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

    of: str
    metric: str

    def __str__(self) -> str:
        return f"{self.of}: {self.metric}"


@dataclass(frozen=True)
class Claim:
    """A decision rule.

    statement : in words.
    quantity : a row of the evidence.
    side : `above` or `below` the bound.
    source : where the claim comes from.
    """

    statement: str
    quantity: Contrast | Level
    side: str
    bound: float
    source: str


PRE_TRAINED, FINE_TUNED = "pre-trained", "fine-tuned"
BEFORE, AFTER = State(PRE_TRAINED, "none"), State(FINE_TUNED, "none")
BEST_BEFORE, BEST_AFTER = State(PRE_TRAINED, "gamma* (oracle)"), State(FINE_TUNED, "gamma* (oracle)")
NAMED = (("ALG", "alg", "paper, calibration"), ("PCV", "pcv", "paper, calibration"), ("stand_in", "stand_in", "ours"))


def change(metric: str) -> Contrast:
    """The difference of one metric, fine-tuned minus pre-trained, without a shift. Source: ours."""
    return Contrast(State(FINE_TUNED), State(PRE_TRAINED), metric)


CLAIMS = (
    Claim("fine-tuning raises accuracy on the seen classes", change("acc_sy"), "above", 0, "paper, abstract"),
    Claim("fine-tuning lowers accuracy on the absent classes", change("acc_uy"), "below", 0, "paper, abstract"),
    Claim(
        "absent classes are told apart no worse than before", change("acc_uu"), "above", KEEPS, "paper, abstract (a)"
    ),
    Claim("absent-class features do not degrade (NCM)", change("ncm_acc_uy"), "above", KEEPS, "paper, abstract (b)"),
    Claim("absent-class features improve (NCM)", change("ncm_acc_uy"), "above", 0, "paper, abstract (b): often"),
    Claim("P(U|x) of absent samples falls", change("p_absent_u"), "below", 0, "paper, figs 4 and 5"),
    Claim("the seen-absent curve rises (AUSUC)", change("ausuc"), "above", 0, "paper, calibration"),
    Claim(
        "seen weight norms grow against absent ones",
        change("weight_norm_s - weight_norm_u"),
        "above",
        0,
        "paper, weight norms",
    ),
    Claim(
        "the best constant (oracle) beats the pre-trained model on absent classes",
        Contrast(BEST_AFTER, BEFORE, "acc_uy"),
        "above",
        0,
        "paper, abstract (c)",
    ),
    Claim(
        "the best constant (oracle) beats the best-shifted pre-trained model over all",
        Contrast(BEST_AFTER, BEST_BEFORE, "acc_yy"),
        "above",
        0,
        "ours",
    ),
    *(
        Claim(
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
            f"{title} beats the pre-trained model on absent classes",
            Contrast(State(FINE_TUNED, method), BEFORE, "acc_uy"),
            "above",
            0,
            source,
        )
        for title, method, source in NAMED
    ),
)
TARGETS, SPEARMAN = "targets", "Spearman"
EXPLANATION = (
    Claim(
        "absent head rows move alike, not with the seen ones",
        Level(FINE_TUNED, "update_uu - update_su"),
        "above",
        0,
        "paper, update similarity",
    ),
    Claim(
        "relations among absent head rows are kept (cosine)",
        Level(FINE_TUNED, "relation_cosine"),
        "above",
        0.95,
        "paper, abstract (a)",
    ),
    Claim(
        "the logit gap on absent samples grows by angles more than by norms",
        change("angle_part - norm_part"),
        "above",
        0,
        "ours",
    ),
    Claim("absent samples move in a common direction", Level(TARGETS, "common"), "above", 0, "paper, explanation"),
    Claim(
        "seen classes of higher kernel similarity than usual move an absent sample more than usual",
        Level(TARGETS, "rank_kernel"),
        "above",
        0,
        "paper, explanation",
    ),
    Claim(
        "seen classes of nearer features than usual move an absent sample more than usual",
        Level(TARGETS, "rank_cosine"),
        "above",
        0,
        "ours",
    ),
    Claim(
        "the first step widens the NCM margin of absent samples",
        Level(TARGETS, "margin_change"),
        "above",
        0,
        "paper, explanation",
    ),
    Claim("the first step points the way of the whole fine-tuning", Level(TARGETS, "lasting"), "above", 0, "ours"),
    Claim(
        "feature nearness to a seen class predicts an absent class's gain in margin",
        Level(SPEARMAN, "feature_cosine"),
        "above",
        0,
        "ours",
    ),
    Claim(
        "kernel similarity to a seen class predicts an absent class's gain in margin",
        Level(SPEARMAN, "kernel"),
        "above",
        0,
        "ours",
    ),
    Claim(
        "the first-order margin change predicts an absent class's gain in margin",
        Level(SPEARMAN, "first_order"),
        "above",
        0,
        "ours",
    ),
)


def verdict(low: float, high: float, side: str, bound: float) -> str:
    """`holds`, `does not hold` or `undecided` for a 95 % interval. NaN ends or width 0 are undecided. Source: ours."""
    inside = low <= bound <= high
    if inside or not low < high:
        return "undecided"
    lies = "above" if low > bound else "below"
    return "holds" if lies == side else "does not hold"


def judge(evidence: pd.DataFrame, claims: tuple[Claim, ...] = (*CLAIMS, *EXPLANATION)) -> pd.DataFrame:
    """Every claim with its difference and verdict.

    evidence : a row per `quantity`, a Contrast or a Level, with columns mean, low, high, n_samples, n_seeds, interval.
    Returns columns claim, verdict, quantity, side, bound, mean, low, high, n_samples, n_seeds, interval, source. Raises
    UserError when the evidence lacks a quantity. Source: the claims name theirs; the rule is ours.
    """
    found = evidence.set_index("quantity")
    if missing := [str(claim.quantity) for claim in claims if claim.quantity not in found.index]:
        raise UserError(f"the evidence has no row {missing[0]!r}; measure it first, or leave the claim out")
    rows = []
    for claim in claims:
        row = found.loc[claim.quantity]
        rows.append(
            {
                "claim": claim.statement,
                "verdict": verdict(row["low"], row["high"], claim.side, claim.bound),
                "quantity": claim.quantity,
                "side": claim.side,
                "bound": claim.bound,
                **row,
                "source": claim.source,
            }
        )
    return pd.DataFrame(rows)
