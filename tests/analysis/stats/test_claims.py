import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis_lib import UserError
from analysis_lib.analysis.stats import claims
from analysis_lib.analysis.stats.claims import CLAIMS, COLUMNS, KEEPS, Claim, holm, judge, verdict
from analysis_lib.analysis.stats.intervals import estimate, p_values

NAN = float("nan")


@pytest.mark.parametrize(
    "mean, p, side, bound, expected",
    [
        (0.15, 0.01, "above", 0.0, "holds"),
        (-0.15, 0.01, "above", 0.0, "does not hold"),
        (0.15, 0.06, "above", 0.0, "undecided"),
        (-0.15, 0.01, "below", 0.0, "holds"),
        (0.15, 0.01, "below", 0.0, "does not hold"),
        (-0.15, 0.06, "below", 0.0, "undecided"),
        (-0.01, 0.05, "above", KEEPS, "holds"),
        (-0.03, 0.05, "above", KEEPS, "does not hold"),
        (0.3, NAN, "above", 0.0, "undecided"),
    ],
)
def test_a_verdict_needs_a_small_p_value_and_the_side(mean, p, side, bound, expected):
    assert verdict(mean, p, side, bound) == expected
    mirrored = "below" if side == "above" else "above"
    assert verdict(-mean, p, mirrored, -bound) == expected


def rejected_by_hand(p, level):
    """Holm's procedure step by step: stop at the first p value that is too large."""
    rejected = [False] * len(p)
    for step, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[place] > level / (len(p) - step):
            break
        rejected[place] = True
    return rejected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.999))
def test_corrected_values_reject_what_the_procedure_rejects(p, level):
    corrected = holm(np.array(p))
    clear = [abs(value - level) > 1e-12 for value in corrected]
    assert [bool(c <= level) for c, sure in zip(corrected, clear) if sure] == [
        found for found, sure in zip(rejected_by_hand(p, level), clear) if sure
    ]
    assert (corrected >= p).all() and (np.argsort(corrected[np.argsort(p)], kind="stable") == range(len(p))).all()


def test_a_claim_that_cannot_be_tested_still_counts_in_its_family():
    assert holm(np.array([0.01, NAN, 0.02])) == pytest.approx(np.array([0.03, NAN, 0.04]), nan_ok=True)


def test_corrected_values_end_at_1():
    assert holm(np.array([0.9, 0.6, 0.7])).tolist() == [1, 1, 1]


def test_a_true_family_is_wrong_in_at_most_5_of_100_cases(random):
    """Six claims whose true difference is their bound; 1,000 families of 4 seeds, three standard errors."""
    p = p_values(estimate(torch.randn(4, 6000, generator=random, dtype=torch.float64)), 0).reshape(1000, 6)
    wrong = np.mean([(holm(family) <= 0.05).any() for family in p])
    assert 0.05 - 0.03 < wrong < 0.05 + 3 * (0.05 * 0.95 / 1000) ** 0.5
    assert np.mean((p <= 0.05).any(1)) > 0.2  # without the correction


def evidence(**rows):
    """A row for each quantity from its seeds' numbers."""
    frames = [estimate(torch.tensor(numbers, dtype=torch.float64)[:, None]) for numbers in rows.values()]
    return pd.concat(frames, ignore_index=True).assign(quantity=list(rows), n_samples=9, n_seeds=3)


def test_no_claim_is_forced_to_hold():
    claims = (
        Claim("one", "it rises", "a", "above", 0, "ours"),
        Claim("two", "it falls", "a", "below", 0, "ours"),
        Claim("two", "b keeps", "b", "above", KEEPS, "ours"),
        Claim("two", "c falls", "c", "below", 0, "ours"),
    )
    found = evidence(a=(-0.21, -0.2, -0.19), b=(-0.05, 0.1, 0.03), c=(0.3, 0.3, 0.3))
    table = judge(found, claims)
    assert list(table.columns) == COLUMNS
    for column in ("family", "side", "bound", "source"):
        assert table[column].tolist() == [getattr(claim, column) for claim in claims]
    assert table["verdict"].tolist() == ["does not hold", "holds", "undecided", "undecided"]
    plain = [stats.ttest_1samp(numbers, bound).pvalue for numbers, bound in (((-0.21, -0.2, -0.19), 0),)]
    assert table["p"].tolist()[:2] == pytest.approx([plain[0], 3 * plain[0]]) and np.isnan(table["p"][3])
    assert table.loc[0, ["mean", "low", "high", "n_samples", "n_seeds", "interval"]].tolist() == [
        *found.loc[0, ["mean", "low", "high"]],
        9,
        3,
        "seeds",
    ]


def test_an_interval_that_excludes_the_bound_may_not_survive_its_family():
    numbers = evidence(a=(0.1, 0.12, 0.2), b=(0.1, 0.12, 0.2), c=(-1, 0, 1))
    alone = (Claim("one", "a", "a", "above", 0, "ours"),)
    assert judge(numbers, alone)["verdict"].tolist() == ["holds"]
    family = tuple(Claim("one", name, name, "above", 0, "ours") for name in "abc")
    table = judge(numbers, family)
    assert table["low"][0] > 0 and table["verdict"].tolist() == ["undecided"] * 3
    apart = tuple(Claim(name, name, name, "above", 0, "ours") for name in "abc")
    assert judge(numbers, apart)["verdict"].tolist() == ["holds", "holds", "undecided"]


@pytest.mark.parametrize(
    "p, claimed, other",
    [(0, "holds", "does not hold"), (0.05, "holds", "does not hold"), (0.0501, "undecided", "undecided")],
)
def test_a_verdict_needs_the_level_and_then_the_side(p, claimed, other):
    assert verdict(0.1, p, "below", 0.2) == claimed and verdict(0.1, p, "above", 0.2) == other
    assert verdict(0.3, p, "above", 0.2) == claimed and verdict(0.3, p, "below", 0.2) == other


def test_without_a_p_value_nothing_is_decided():
    assert {verdict(mean, NAN, side, 0) for mean in (-1, 0, 1) for side in ("above", "below")} == {"undecided"}


def test_missing_evidence_is_named():
    with pytest.raises(UserError, match="the evidence has no row 'b'"):
        judge(evidence(a=(0, 1)), (Claim("one", "b", "b", "above", 0, "ours"),))


def test_every_claim_is_stated_once_and_tests_its_own_difference():
    assert len({claim.statement for claim in CLAIMS}) == len(CLAIMS)
    assert len({(claim.quantity, claim.bound) for claim in CLAIMS}) == len(CLAIMS)
    assert {claim.side for claim in CLAIMS} == {"above", "below"}


def test_quantities_are_named_by_their_states():
    assert str(claims.change("acc_uy")) == "fine-tuned - pre-trained: acc_uy"
    shifted = claims.State("fine-tuned", "alg")
    assert claims.change("gap", "a").b == claims.State("a") and str(shifted) == "fine-tuned, alg"
    assert str(claims.Level(shifted, "gap")) == "fine-tuned, alg: gap"
