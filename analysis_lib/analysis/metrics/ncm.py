"""The nearest-class-mean (NCM) classifier: a probe of feature quality that does not use the head.

The class means come from labelled target training data of all classes, including the absent ones. So it is an oracle
probe, not a classifier that could be deployed.
"""

import torch
from torch.nn.functional import normalize

from ..chunks import by_rows, chunks


def unit_rows(features: torch.Tensor) -> torch.Tensor:
    """Features (N, D) scaled to unit length, float64."""
    return normalize(features.double(), dim=1)


def class_means(features: torch.Tensor, labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Directions of the classes: the mean of unit features per class, scaled to unit length.

    features : (N, D); labels : (N,) int64 in 0..C-1. Returns (C, D) float64; NaN for a class without samples.
    Source: paper section 4 (NCM on normalised features).
    """
    sums = features.new_zeros(num_classes, features.shape[1], dtype=torch.float64)
    for rows in chunks(len(labels)):
        sums.index_add_(0, labels[rows], unit_rows(features[rows]))
    means = unit_rows(sums)
    means[torch.bincount(labels, minlength=num_classes) == 0] = torch.nan
    return means


def ncm_margins(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The score of the label minus the largest other score, (N,); positive if the prediction is right.

    scores : (N, C); labels : (N,) int64. Source: ours.
    """
    own = scores.gather(1, labels[:, None])
    return (own - scores.scatter(1, labels[:, None], -torch.inf).amax(1, keepdim=True)).squeeze(1)


def ncm_scores(features: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    """Cosine of every feature with every class mean.

    features : (N, D); means : (C, D) from `class_means`. Returns (N, C) float64, -inf for a class without a mean, so
    that it is never predicted. Source: paper section 4.
    """
    scores = by_rows(lambda rows: unit_rows(rows) @ means.T, features)
    return scores.masked_fill(means.isnan().any(1), -torch.inf)
