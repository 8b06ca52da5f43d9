"""The share of absent samples among unlabelled ones, where the truth is known."""

import pytest
import torch

from analysis_lib import ClassSplit, UserError, shift_logits
from analysis_lib.analysis.gamma.estimators.absent_share import estimate_absent_share, group_gaps
from analysis_lib.analysis.gamma.estimators.share_baselines import black_box_share, posterior_em_share

SPLIT = ClassSplit(2, [0])


def logits(gaps):
    """Logits of two classes with these gaps."""
    return torch.stack([gaps, torch.zeros_like(gaps)], 1)


def mixture(share, n, generator, distance=4.0):
    """Gaps of n samples, of which a share is absent: normal around 0, where seen samples are normal around `distance`.

    Seen samples come first.
    """
    gaps = torch.randn(n, generator=generator, dtype=torch.float64)
    gaps[: n - round(share * n)] += distance
    return gaps


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_share_of_groups_that_part_is_found(random, share):
    held_out, pool = mixture(0, 20_000, random, 9.0), mixture(share, 20_000, random, 9.0)
    found = estimate_absent_share(logits(pool), logits(held_out), SPLIT, random, 100)
    assert found.share == pytest.approx(share, abs=0.03)
    assert found.low <= found.share <= found.high and found.high - found.low < 0.08
    assert (found.n_unlabelled, found.n_held_out) == (20_000, 20_000)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_interval_covers_the_share_though_groups_overlap(share):
    """Groups two standard deviations apart: 2.3 % of absent samples lie above the seen median, so the estimate is at
    most share * 0.046 too small, and 95 % intervals cover the truth about as often as they say.
    """
    errors, covered = [], []
    for draw in range(100):
        generator = torch.Generator().manual_seed(draw)
        held_out, pool = mixture(0, 200, generator, 2.0), mixture(share, 300, generator, 2.0)
        found = estimate_absent_share(logits(pool), logits(held_out), SPLIT, generator, 150)
        errors.append(found.share - share)
        covered.append(found.low <= share <= found.high)
    assert -0.046 * share - 0.03 < sum(errors) / 100 < 0.03
    assert sum(covered) >= 90


def test_a_shift_of_the_absent_logits_or_another_order_changes_nothing():
    generator = torch.Generator()
    pool, held_out = torch.randn(60, 9, generator=generator.manual_seed(1)), torch.randn(40, 9, generator=generator)
    split = ClassSplit(9, [0, 2, 3, 7])
    found = estimate_absent_share(pool, held_out, split, generator.manual_seed(2), 50)
    shifted = (shift_logits(part, split, -8.0) for part in (pool, held_out))
    assert estimate_absent_share(*shifted, split, generator.manual_seed(2), 50) == found
    assert estimate_absent_share(pool.flip(0), held_out.flip(0), split, generator, 50).share == found.share


def test_ties_and_single_samples_are_no_exception(random):
    tied = logits(torch.ones(5))
    assert estimate_absent_share(tied, tied, SPLIT, random, 10).share == 0
    assert estimate_absent_share(tied - 3 * torch.tensor([1.0, 0.0]), tied[:1], SPLIT, random, 10).share == 1
    held_out = logits(torch.arange(4.0))
    found = estimate_absent_share(held_out[3:], held_out, SPLIT, random, 10)
    assert found.share == found.low == 0, "more large gaps than among held-out samples are no negative share"


def test_logits_that_do_not_fit_are_named(random):
    with pytest.raises(UserError, match=r"held-out logits have shape \(0, 2\); expected \(N, 2\) with at least"):
        estimate_absent_share(torch.zeros(3, 2), torch.zeros(0, 2), SPLIT, random)
    with pytest.raises(UserError, match=r"the target logits hold NaN"):
        estimate_absent_share(torch.full((3, 2), torch.nan), torch.zeros(1, 2), SPLIT, random)
    with pytest.raises(UserError, match=r"the target logits have shape \(0, 2\)"):
        posterior_em_share(torch.zeros(0, 2), SPLIT)


def test_em_finds_the_share_under_a_posterior_that_is_right(random):
    """Gaps that are the log likelihood ratio of the two groups are logits of a calibrated posterior at equal shares."""
    for share in (0.1, 0.5, 0.8):
        gaps = 2.0 * (mixture(share, 20_000, random, 2.0) - 1.0)  # of normals at 2 and 0 with variance 1
        assert posterior_em_share(logits(gaps), SPLIT) == pytest.approx(share, abs=0.03)


def test_the_black_box_share_solves_its_equation(random):
    """With labelled absent samples in place of stand-ins the share is exact in expectation, for every gamma."""
    pool, seen, absent = mixture(0.3, 20_000, random, 2.0), mixture(0, 20_000, random, 2.0), mixture(1, 20_000, random)
    for gamma in (0.0, 1.0, 2.0):
        assert black_box_share(pool, seen, absent, gamma) == pytest.approx(0.3, abs=0.03)
    assert black_box_share(pool, seen, absent + 99, 1.0) == 0, "stand-ins that are never predicted absent say nothing"
    assert black_box_share(pool, seen, seen, 1.0) == 0, "nor do those that are alike"
    nothing, tied, everything = torch.tensor([9.0, 9.0]), torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0])
    assert black_box_share(tied, nothing, everything, 1.0) == 0.5, "a gap of gamma is predicted seen"
    assert black_box_share(everything, nothing, tied, 1.0) == 1, "at most 1"


def test_gaps_are_their_definition(random):
    z, split = torch.randn(20, 9, generator=random), ClassSplit(9, [0, 2, 3, 7])
    expected = [max(row[c] for c in split.seen) - max(row[c] for c in split.absent) for row in z.double().tolist()]
    assert group_gaps(z, split, "target").tolist() == pytest.approx(expected)
