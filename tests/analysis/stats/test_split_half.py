import math

import numpy as np
import pytest
import torch
from scipy import stats

from analysis_lib.analysis.stats import split_half


def test_halves_keep_clusters_whole_and_give_every_class_its_part(random):
    """Classes of 1, 2, 3 and 5 clusters, with clusters of several sizes, in any order."""
    clusters = torch.tensor([7, 3, 3, 9, 1, 1, 1, 4, 5, 6, 20, 21, 22, 23, 24, 24])
    strata = torch.tensor([0, 1, 1, 1, 2, 2, 2, 2, 2, 5, 5, 5, 5, 5, 0, 0])
    strata[9] = 7  # a class of one cluster
    order = torch.randperm(16, generator=random)
    clusters, strata = clusters[order], strata[order]
    found = split_half.halves(clusters, strata, 400, random)
    assert found.shape == (400, 2, 16) and (found[:, 0] ^ found[:, 1]).all()
    for c in clusters.unique():
        mine = found[:, 0, clusters == c]
        assert (mine == mine[:, :1]).all(), "a cluster is in one half"
        assert 0.4 < mine[:, 0].double().mean() < 0.6, "and in either as often"
    for y in strata.unique():
        names = clusters[strata == y].unique()
        taken = torch.stack([found[:, 0, clusters == c][:, 0] for c in names]).sum(0)
        assert set(taken.tolist()) == {len(names) // 2, (len(names) + 1) // 2}
    pair = [found[:, 0, clusters == c][:, 0] for c in (20, 21)]
    assert 0.2 < (pair[0] == pair[1]).double().mean() < 0.55, "which clusters go together varies"


def test_a_seed_fixes_the_splits():
    clusters, strata = torch.arange(30), torch.arange(30) % 3
    first, again, other = (split_half.halves(clusters, strata, 5, torch.Generator().manual_seed(k)) for k in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    odd = torch.zeros(3, dtype=torch.long)  # one stratum, which half has two of three is the coin's alone
    coins = [split_half.halves(torch.arange(3), odd, 9, torch.Generator().manual_seed(4)).sum(2) for _ in range(2)]
    assert torch.equal(*coins)


def test_the_correction_gives_back_the_correlation_of_the_true_values(random):
    """Two noisy measurements of each of two quantities; of normal values, where ranks hardly differ."""
    rho, n = 0.6, 20_000
    a, noise, *errors = torch.randn(6, n, generator=random, dtype=torch.float64)
    b = rho * a + math.sqrt(1 - rho**2) * noise
    first, second = [a + 0.8 * e for e in errors[:2]], [b + 1.2 * e for e in errors[2:]]
    correlation = np.corrcoef(first[0], second[1])[0, 1]
    reliabilities = [np.corrcoef(*pair)[0, 1] for pair in (first, second)]
    assert reliabilities == pytest.approx([1 / 1.64, 1 / 2.44], abs=0.02) and correlation < 0.35
    assert split_half.corrected(correlation, *reliabilities) == pytest.approx(rho, abs=0.03)
    assert split_half.corrected(0.3, 1.0, 1.0) == 0.3
    assert split_half.corrected(0.05, 0.1, 0.4) == pytest.approx(0.25), "the least reliability that counts"


@pytest.mark.parametrize("pair", [(0.05, 0.9), (0.9, 0.05), (-0.5, -0.5), (math.nan, 0.5), (0.5, math.nan)])
def test_without_reliability_there_is_no_correction(pair):
    assert math.isnan(split_half.corrected(0.3, *pair))


def test_when_nothing_happened_halves_find_nothing_and_the_same_images_do(random):
    """Each class is right with its own chance, before and after alike: regression to the mean and nothing else."""
    chance = torch.rand(4000, 1, generator=random)
    before, after = ((torch.rand(4000, 4, generator=random) < chance).double() for _ in range(2))
    gain = after - before
    same = stats.spearmanr(before.mean(1), gain.mean(1)).statistic
    crossed = stats.spearmanr(before[:, :2].mean(1), gain[:, 2:].mean(1)).statistic
    assert same < -0.25 and abs(crossed) < 0.05
