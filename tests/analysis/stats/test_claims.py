import pandas as pd
import pytest

from analysis_lib import UserError
from analysis_lib.analysis.stats.claims import CLAIMS, KEEPS, Claim, judge, verdict

NAN = float("nan")


@pytest.mark.parametrize("low, high, side, bound, expected", [
    (0.1, 0.2, "above", 0.0, "holds"), (-0.2, -0.1, "above", 0.0, "does not hold"), (-0.1, 0.2, "above", 0.0, "undecided"),
    (-0.2, -0.1, "below", 0.0, "holds"), (0.1, 0.2, "below", 0.0, "does not hold"), (-0.1, 0.2, "below", 0.0, "undecided"),
    (-0.01, 0.3, "above", KEEPS, "holds"), (-0.03, 0.3, "above", KEEPS, "undecided"), (-0.2, -0.03, "above", KEEPS, "does not hold"),
    (0.0, 0.1, "above", 0.0, "undecided"), (0.3, 0.3, "above", 0.0, "undecided"), (NAN, NAN, "above", 0.0, "undecided"),
])
def test_a_verdict_needs_the_whole_interval(low, high, side, bound, expected):
    assert verdict(low, high, side, bound) == expected
    mirrored = "below" if side == "above" else "above"
    assert verdict(-high, -low, mirrored, -bound) == expected


def evidence(**rows):
    return pd.DataFrame([{"quantity": name, "mean": (low + high) / 2, "low": low, "high": high, "n_samples": 9, "n_seeds": 3, "interval": "bootstrap"}
                         for name, (low, high) in rows.items()])


def test_no_claim_is_forced_to_hold():
    claims = (Claim("it rises", "a", "above", 0, "ours"), Claim("it falls", "a", "below", 0, "ours"), Claim("b keeps", "b", "above", KEEPS, "ours"))
    table = judge(evidence(a=(-0.3, -0.1), b=(-0.05, 0.1)), claims)
    assert table["verdict"].tolist() == ["does not hold", "holds", "undecided"]
    assert table.loc[0, ["mean", "low", "high", "n_samples", "n_seeds", "interval"]].tolist() == [-0.2, -0.3, -0.1, 9, 3, "bootstrap"]


def test_missing_evidence_is_named():
    with pytest.raises(UserError, match="the evidence has no row 'b'"):
        judge(evidence(a=(0, 1)), (Claim("b", "b", "above", 0, "ours"),))


def test_every_claim_is_stated_once():
    assert len({claim.statement for claim in CLAIMS}) == len(CLAIMS)
    assert {claim.side for claim in CLAIMS} == {"above", "below"}
