"""Known estimates of label shift, for comparison with `estimate_absent_share`.

Both were made for classifiers that have seen every class. Here the absent group has no labelled images, so each needs
something in its place: a model whose posterior is right for both groups, or stand-ins for absent images.
"""

import torch

from ....core.class_split import ClassSplit
from ...chunks import by_rows
from .absent_share import group_gaps


def posterior_em_share(target_logits: torch.Tensor, split: ClassSplit, iterations: int = 500) -> float:
    """The share of absent samples that maximises the likelihood of unlabelled samples, given the model's posterior.

    target_logits (N, C) : taken as the posterior of a prior in which every class is equally frequent. Expectation
    maximisation over the two groups. Raises UserError as `group_gaps`. Source: Saerens et al. 2002.
    """
    group_gaps(target_logits, split, "target")
    prior = len(split.absent) / split.num_classes
    absent = by_rows(lambda some: some.double().softmax(1)[:, list(split.absent)].sum(1), target_logits)
    share = prior
    for _ in range(iterations):
        of_absent = absent * share / prior
        of_seen = (1 - absent) * (1 - share) / (1 - prior)
        share = (of_absent / (of_absent + of_seen)).mean().item()
    return share


def black_box_share(target: torch.Tensor, held_out: torch.Tensor, stand_ins: torch.Tensor, gamma: float) -> float:
    """The share of absent samples that explains how many unlabelled samples are predicted absent with a shift by gamma.

    target, held_out, stand_ins : gaps of unlabelled samples, of seen samples, and of stand-ins for absent ones; a gap
    below gamma means predicted absent. Clipped to [0, 1]; 0 if stand-ins are not predicted absent more often than seen
    samples. Source: Lipton et al. 2018, with stand-ins for the column of the confusion matrix that has no labelled
    data.
    """
    found, from_seen, from_absent = ((gaps < gamma).double().mean().item() for gaps in (target, held_out, stand_ins))
    if from_absent <= from_seen:
        return 0.0
    return min(1.0, max(0.0, (found - from_seen) / (from_absent - from_seen)))
