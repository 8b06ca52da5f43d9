"""The statements about fine-tuning as decision rules: each names one difference and where it should lie.

A claim *holds* where the whole 95 % interval of its difference lies on the claimed side of the bound, *does not hold*
where the whole interval lies on the other side, and is *undecided* otherwise, also where there is no interval or one
without width (nothing varied, so nothing says how far off it is). Each interval stands alone: of forty claims that
lie exactly on their bound, one is expected to hold by luck.
"""

from dataclasses import dataclass

import pandas as pd

from ..errors import UserError

KEEPS = -0.02  # "does not drop": by two points at most


@dataclass(frozen=True)
class Claim:
    """statement : in words; quantity : a row of the evidence, `<a> - <b>: <metric>`; side : `above` or `below` the bound;
    source : who says it."""

    statement: str
    quantity: str
    side: str
    bound: float
    source: str


FINE_TUNED, CALIBRATED = "fine-tuned - pre-trained: ", "fine-tuned, gamma* (oracle) - "
CLAIMS = (
    Claim("fine-tuning raises accuracy on the seen classes", FINE_TUNED + "acc_sy", "above", 0, "paper, abstract"),
    Claim("fine-tuning lowers accuracy on the absent classes", FINE_TUNED + "acc_uy", "below", 0, "paper, abstract"),
    Claim("absent classes are told apart no worse than before", FINE_TUNED + "acc_uu", "above", KEEPS, "paper, abstract (a)"),
    Claim("absent-class features do not degrade (NCM)", FINE_TUNED + "ncm_acc_uy", "above", KEEPS, "paper, abstract (b)"),
    Claim("absent-class features improve (NCM)", FINE_TUNED + "ncm_acc_uy", "above", 0, "paper, abstract (b): often"),
    Claim("P(U|x) of absent samples falls", FINE_TUNED + "p_absent_u", "below", 0, "paper, figs 4 and 5"),
    Claim("the seen-absent curve rises (AUSUC)", FINE_TUNED + "ausuc", "above", 0, "paper, calibration"),
    Claim("seen weight norms grow against absent ones", FINE_TUNED + "weight_norm_s - weight_norm_u", "above", 0, "paper, weight norms"),
    Claim("the best constant (oracle) beats the pre-trained model on absent classes", CALIBRATED + "pre-trained, none: acc_uy", "above", 0,
          "paper, abstract (c)"),
    Claim("the best constant (oracle) beats the best-shifted pre-trained model over all", CALIBRATED + "pre-trained, gamma* (oracle): acc_yy", "above", 0,
          "ours"),
    *(Claim(f"{title} beats no shift over all classes", f"fine-tuned, {method} - fine-tuned, none: acc_yy", "above", 0, source)
      for title, method, source in (("ALG", "alg", "paper, calibration"), ("PCV", "pcv", "paper, calibration"), ("stand_in", "stand_in", "ours"))),
    *(Claim(f"{title} beats the pre-trained model on absent classes", f"fine-tuned, {method} - pre-trained, none: acc_uy", "above", 0, source)
      for title, method, source in (("ALG", "alg", "paper, calibration"), ("PCV", "pcv", "paper, calibration"), ("stand_in", "stand_in", "ours"))),
)


HEAD, TARGETS = "fine-tuned: ", "targets: "
EXPLANATION = (
    Claim("absent head rows move alike, not with the seen ones", HEAD + "update_uu - update_su", "above", 0, "paper, update similarity"),
    Claim("relations among absent head rows are kept (cosine)", HEAD + "relation_cosine", "above", 0.95, "paper, abstract (a)"),
    Claim("the logit gap on absent samples grows by angles more than by norms", FINE_TUNED + "angle_part - norm_part", "above", 0, "ours"),
    Claim("absent samples move in a common direction", TARGETS + "common", "above", 0, "paper, explanation"),
    Claim("seen classes of higher kernel similarity than usual move an absent sample more than usual", TARGETS + "rank_kernel", "above", 0, "paper, explanation"),
    Claim("seen classes of nearer features than usual move an absent sample more than usual", TARGETS + "rank_cosine", "above", 0, "ours"),
    Claim("the first step widens the NCM margin of absent samples", TARGETS + "margin_change", "above", 0, "paper, explanation"),
    Claim("the first step points the way of the whole fine-tuning", TARGETS + "lasting", "above", 0, "ours"),
    Claim("feature nearness to a seen class predicts an absent class's gain in margin", "Spearman: feature_cosine", "above", 0, "ours"),
    Claim("kernel similarity to a seen class predicts an absent class's gain in margin", "Spearman: kernel", "above", 0, "ours"),
    Claim("the first-order margin change predicts an absent class's gain in margin", "Spearman: first_order", "above", 0, "ours"),
)


def verdict(low: float, high: float, side: str, bound: float) -> str:
    """`holds`, `does not hold` or `undecided` for a 95 % interval; NaN ends and no width leave it undecided. Source: ours."""
    if not low < high:
        return "undecided"
    above, below = low > bound, high < bound
    if above or below:
        return "holds" if above == (side == "above") else "does not hold"
    return "undecided"


def judge(evidence: pd.DataFrame, claims: tuple[Claim, ...] = (*CLAIMS, *EXPLANATION)) -> pd.DataFrame:
    """Every claim with its difference and verdict.

    evidence : a row per `quantity` with columns mean, low, high, n_samples, n_seeds, interval. Returns columns claim,
    verdict, quantity, side, bound, mean, low, high, n_samples, n_seeds, interval, source. Raises UserError when the
    evidence lacks a quantity. Source: the claims name theirs; the rule is ours.
    """
    found = evidence.set_index("quantity")
    if missing := [claim.quantity for claim in claims if claim.quantity not in found.index]:
        raise UserError(f"the evidence has no row {missing[0]!r}; measure it first, or leave the claim out")
    rows = []
    for claim in claims:
        row = found.loc[claim.quantity]
        rows.append({"claim": claim.statement, "verdict": verdict(row["low"], row["high"], claim.side, claim.bound), "quantity": claim.quantity,
                     "side": claim.side, "bound": claim.bound, **row, "source": claim.source})
    return pd.DataFrame(rows)
