"""Ensembles of networks, beside their single members and the share of samples that any member gets right.

Letters: M members, N samples, C classes. The logits of every fine-tuned network are too large for seen classes by a
constant of its own. Shift each member's logits first (`shift_logits`) to combine networks without that constant. The
share that any member gets right grows with every member, however alike they are: compare it for equal M only.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
import torch

from ...core.class_split import ClassSplit
from ...core.errors import UserError
from .accuracy import check_scores, group_masks
from .complementarity import GROUPS


def mean_logits(members: torch.Tensor) -> torch.Tensor:
    """The mean of the members' logits (M, N, C): logits (N, C) float64."""
    return members.double().mean(0)


def mean_probabilities(members: torch.Tensor) -> torch.Tensor:
    """The logarithm of the mean of the members' softmax probabilities: logits (N, C) float64."""
    return members.double().log_softmax(2).logsumexp(0) - math.log(len(members))


def votes(members: torch.Tensor) -> torch.Tensor:
    """The votes of the members for each class: scores (N, C) float64.

    The mean probability is added. It is below 1 for any class without all votes, so it decides between equal votes and
    changes no others.
    """
    best = members.argmax(2)
    counts = members.new_zeros(members.shape[1:], dtype=torch.float64)
    counts.scatter_add_(1, best.T, counts.new_ones(best.T.shape))
    return counts + members.double().softmax(2).mean(0)


def best_member(members: torch.Tensor, labels: torch.Tensor) -> int:
    """The member with the highest accuracy over all samples, the first among equals (*oracle*: it uses the labels)."""
    return int((members.argmax(2) == labels).double().mean(1).argmax())


@dataclass(frozen=True)
class Ensemble:
    """A way to predict with several networks, and how figures show it.

    right : from logits (M, N, C) and labels (N,) to how right each sample is, (N,) float64.
    title, marker : for figures.
    oracle : whether it uses the labels.
    """

    right: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    title: str
    marker: str
    oracle: bool = False


def _by_scores(scores: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    return lambda members, labels: (scores(members).argmax(1) == labels).double()


def _each(members: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Whether each member is right, (M, N) float64."""
    return (members.argmax(2) == labels).double()


MEAN, BEST = "mean_single", "best_single"
ENSEMBLES: dict[str, Ensemble] = {
    MEAN: Ensemble(lambda members, labels: _each(members, labels).mean(0), "mean of the single networks", "o"),
    BEST: Ensemble(
        lambda members, labels: _each(members, labels)[best_member(members, labels)],
        "best single network (oracle)",
        "D",
        oracle=True,
    ),
    "mean_logits": Ensemble(_by_scores(mean_logits), "mean of logits", "s"),
    "mean_probabilities": Ensemble(_by_scores(mean_probabilities), "mean of probabilities", "^"),
    "vote": Ensemble(_by_scores(votes), "majority vote", "v"),
    "any_correct": Ensemble(
        lambda members, labels: _each(members, labels).amax(0), "any network right (oracle)", "*", oracle=True
    ),
}


def stacked(logits: Mapping[str, torch.Tensor], labels: torch.Tensor, split: ClassSplit) -> torch.Tensor:
    """The logits of all members, (M, N, C). Raises UserError for none, shapes or labels that do not fit, and NaN."""
    if not logits:
        raise UserError("an ensemble has no members; name at least one network")
    for each in logits.values():
        check_scores(each, labels, split)
    return torch.stack(list(logits.values()))


def ensembles(logits: Mapping[str, torch.Tensor], labels: torch.Tensor, split: ClassSplit) -> pd.DataFrame:
    """The accuracy of every ensemble and its gains: columns ensemble, oracle, group, metric, value.

    logits : (N, C) of each member by name, shifted or not; labels : (N,) int64. Groups: all, seen, absent samples; the
    choice is among all classes. Metrics, as fractions: `accuracy`, and `over_best_single` and `over_mean_single`, the
    accuracy less that of the best member over all samples (one network for all groups, chosen on these labels: an
    *oracle*) and less the mean of the members'. NaN for an empty group. Raises UserError as `stacked`.
    """
    members, masks = stacked(logits, labels, split), group_masks(labels, split)
    right = {name: each.right(members, labels) for name, each in ENSEMBLES.items()}
    rows = []
    for group, title in GROUPS.items():
        accuracy = {name: value[masks[group]].mean().item() for name, value in right.items()}
        for name, value in accuracy.items():
            own = {"accuracy": value} | {f"over_{single}": value - accuracy[single] for single in (BEST, MEAN)}
            rows += [(name, ENSEMBLES[name].oracle, title, metric, each) for metric, each in own.items()]
    return pd.DataFrame(rows, columns=["ensemble", "oracle", "group", "metric", "value"])
