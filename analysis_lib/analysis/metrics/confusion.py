"""Confusion between seen and absent classes: by group, and by pair of classes."""

import torch

from ...core.class_split import ClassSplit
from .accuracy import check_scores


def group_confusion(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> torch.Tensor:
    """The share of each group's samples that is predicted as each group, (2, 2) float64.

    Rows are the true group and columns the predicted one, seen first. Rows sum to 1; NaN for a group without samples.
    logits : (N, C); labels : (N,) int64. Raises UserError for shapes or labels that do not fit. Source: paper section
    5.
    """
    check_scores(logits, labels, split)
    true, predicted = split.is_seen(labels), split.is_seen(logits.argmax(1))
    to_seen = torch.stack([predicted[true].double().mean(), predicted[~true].double().mean()])
    return torch.stack([to_seen, 1 - to_seen], 1)


def seen_confusions(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> torch.Tensor:
    """The number of absent samples that are predicted as each seen class, by pair of classes.

    Returns (K, 3) int64 rows of absent class, seen class predicted for it, and samples; ascending. logits : (N, C);
    labels : (N,) int64. Raises UserError for shapes or labels that do not fit. Source: ours.
    """
    check_scores(logits, labels, split)
    return confused_pairs(logits.argmax(1), labels, split)


def confused_pairs(predicted: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> torch.Tensor:
    """`seen_confusions` from the predicted classes (N,) int64."""
    lost = ~split.is_seen(labels) & split.is_seen(predicted)
    pairs, counts = torch.stack([labels[lost], predicted[lost]], 1).unique(dim=0, return_counts=True)
    return torch.cat([pairs, counts[:, None]], 1)
