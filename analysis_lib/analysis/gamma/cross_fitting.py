"""The oracle without the optimism of choosing gamma on the samples that score it."""

import torch

from ...core.class_split import ClassSplit
from .curve import seen_absent_curve, shift_logits


def cross_fitted_right(
    logits: torch.Tensor,
    labels: torch.Tensor,
    split: ClassSplit,
    clusters: torch.Tensor,
    generator: torch.Generator,
    folds: int = 10,
) -> torch.Tensor:
    """Whether each sample is right with the best gamma of the other samples, (N,) bool. *Oracle*.

    logits (N, C), labels (N,) int64; clusters (N,) int64, samples of one number stay together. The clusters are dealt
    into `folds` parts at random; gamma* of all other parts predicts each part. Raises UserError as
    `seen_absent_curve`. Source: ours.
    """
    names, cluster = clusters.unique(return_inverse=True)
    part = (torch.randperm(len(names), generator=generator) % folds)[cluster]
    right = torch.zeros(len(labels), dtype=torch.bool)
    for number in part.unique():
        inside = part == number
        gamma = seen_absent_curve(logits[~inside], labels[~inside], split).best().gamma
        right[inside] = shift_logits(logits[inside], split, gamma).argmax(1) == labels[inside]
    return right
