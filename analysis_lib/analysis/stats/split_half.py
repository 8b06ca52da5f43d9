"""Halves of the samples, so that a prediction and its outcome share no sample, and the correction for their noise.

A prediction and an outcome that are measured on the same samples share their noise, and correlate even when nothing
happened: a change (after minus before) correlates negatively with the value before (regression to the mean). Measured
on two disjoint halves, they share only what is true of the class.
"""

import math

import pandas as pd
import torch

LEAST_RELIABILITY = 0.1  # below it, a correlation cannot be corrected for attenuation


def halves(clusters: torch.Tensor, strata: torch.Tensor, splits: int, generator: torch.Generator) -> torch.Tensor:
    """Random splits of N samples in two halves, by whole clusters and within strata: (splits, 2, N) bool.

    clusters, strata : (N,) int64; a cluster belongs to the stratum of its first sample. Of a stratum with m clusters
    one half has m // 2, and a coin decides which: from two clusters on, both halves hold some.
    """
    _, cluster = clusters.unique(return_inverse=True)
    samples = torch.arange(len(cluster))
    first = torch.full((int(cluster.max()) + 1,), len(cluster)).scatter_reduce(0, cluster, samples, "amin")
    stratum = strata[first]
    found = torch.empty(splits, 2, len(cluster), dtype=torch.bool)
    for split in found:
        order = torch.randperm(len(first), generator=generator)
        coins = torch.randint(2, (int(stratum.max()) + 1,), generator=generator)
        place = pd.Series(order.numpy()).groupby(stratum.numpy()).rank().to_numpy()  # 1, 2, ... within the stratum
        split[0] = ((torch.tensor(place).long() + coins[stratum]) % 2 == 0)[cluster]
        split[1] = ~split[0]
    return found


def corrected(correlation: float, predictor_reliability: float, outcome_reliability: float) -> float:
    """A correlation corrected for attenuation: divided by the square root of the product of both reliabilities.

    A reliability is the correlation of two measurements of the same thing, each as noisy as those that are correlated:
    for a prediction from one half and an outcome on the other, it is the correlation of the two halves, as it stands.
    (To speak for all samples together, Spearman-Brown's formula would first have to step it up.) The result can lie
    beyond 1. It is NaN, undefined, if a reliability is below LEAST_RELIABILITY. Source: Spearman 1904.
    """
    if not min(predictor_reliability, outcome_reliability) >= LEAST_RELIABILITY:
        return math.nan
    return correlation / (predictor_reliability * outcome_reliability) ** 0.5
