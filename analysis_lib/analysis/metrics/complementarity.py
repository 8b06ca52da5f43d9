"""How alike the predictions of networks are: agreement, shared errors, and how often one alone is right.

Letters: N samples, C classes. Two accurate networks agree often, and networks that find the same classes hard err
together, whatever else they have in common. So beside agreement and overlap stands what they would be by chance: if,
within each true class, the predictions of the two networks were paired at random (`_null`). `kappa` is the agreement
above that chance, as a share of the most there can be above it: 0 by chance, 1 for equal predictions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import pandas as pd
import torch

from ...core.class_split import ClassSplit
from ...core.errors import UserError
from .accuracy import check_scores, group_masks
from .feature_space import linear_cka

GROUPS = {"y": "all", "s": "seen", "u": "absent"}
MOST, LEAST = "most_confident", "least_confident"
# the measures of a pair, and how figures call them
MEASURES = {
    "agreement": "agreement",
    "agreement_null": "agreement by chance within classes",
    "kappa": "agreement above chance within classes (kappa)",
    "double_fault": "both wrong",
    "double_fault_null": "both wrong by chance within classes",
    "correct_only_a": "the first alone right",
    "correct_only_b": "the second alone right",
    "error_overlap": "shared errors among all errors",
    "error_overlap_null": "shared errors by chance within classes",
    "cka": "similarity of logits (linear CKA)",
}


@dataclass(frozen=True)
class Predictions:
    """What one network says of N samples.

    classes (N,) int64 : the predicted class. confidence (N,) float64 : the largest softmax probability. centred (N, C)
    float64 : logits less their mean over classes, which no softmax depends on.
    """

    classes: torch.Tensor
    confidence: torch.Tensor
    centred: torch.Tensor


def predictions(logits: torch.Tensor) -> Predictions:
    """The predictions of a network with logits (N, C)."""
    logits = logits.double()
    return Predictions(logits.argmax(1), logits.softmax(1).amax(1), logits - logits.mean(1, keepdim=True))


def sample_values(a: torch.Tensor, b: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each sample adds to the measures of two networks, (N,) float64 each; their means are for `rates`.

    a, b : (N,) int64, the predicted classes; labels : (N,) int64. `agreement double_fault correct_only_a
    correct_only_b` are 0 or 1. `agreement_null double_fault_null` are equal for all samples of a class: the mean over
    all ways to pair its predictions by a with those by b. With one sample of a class there is only one way. Source:
    ours; double fault, Giacinto and Roli 2001.
    """
    right_a, right_b = a == labels, b == labels
    size = int(torch.cat([a, b, labels]).max()) + 1 if len(labels) else 0

    def counts(predicted: torch.Tensor) -> torch.Tensor:
        """The samples of each true class (row) by predicted class (column)."""
        return torch.bincount(labels * size + predicted, minlength=size * size).view(size, size).double()

    of_a, of_b = counts(a), counts(b)
    total = of_a.sum(1)
    wrong_a, wrong_b = total - of_a.diagonal(), total - of_b.diagonal()
    return {
        "agreement": (a == b).double(),
        "agreement_null": ((of_a * of_b).sum(1) / total.square())[labels],
        "double_fault": (~right_a & ~right_b).double(),
        "double_fault_null": (wrong_a * wrong_b / total.square())[labels],
        "correct_only_a": (right_a & ~right_b).double(),
        "correct_only_b": (right_b & ~right_a).double(),
    }


def rates(means: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The measures of two networks from the means of `sample_values`, which have any one shape.

    All are fractions: the means, and

    kappa : Cohen's kappa with the agreement by chance taken within each true class; NaN where chance always agrees.
    error_overlap : both wrong, as a share of any wrong; NaN without errors. error_overlap_null : the same by chance.
    """
    both, by_chance = means["double_fault"], means["double_fault_null"]
    alone = means["correct_only_a"] + means["correct_only_b"]
    wrong_twice = 2 * both + alone  # the error rates of a and of b together
    null = means["agreement_null"]
    return {
        **means,
        "kappa": (means["agreement"] - null) / (1 - null),
        "error_overlap": both / (both + alone),
        "error_overlap_null": by_chance / (wrong_twice - by_chance),
    }


def pair_rows(
    a: Predictions, b: Predictions, labels: torch.Tensor, split: ClassSplit, count: int
) -> dict[str, torch.Tensor]:
    """The samples of each group of a pair, as int64 indices: all, seen, absent, and the most and least confident.

    Confident are the `count` samples (at most N) with the largest and with the smallest confidence, which is the mean
    of the two networks'. Among equals the first sample counts as the more confident.
    """
    order = (a.confidence + b.confidence).argsort(descending=True, stable=True)
    count = min(count, len(order))
    masks = group_masks(labels, split)
    rows = {title: masks[group].nonzero().squeeze(1) for group, title in GROUPS.items()}
    return rows | {MOST: order[:count], LEAST: order[len(order) - count :]}


def complementarity(
    logits: Mapping[str, torch.Tensor], labels: torch.Tensor, split: ClassSplit, count: int
) -> pd.DataFrame:
    """The measures of every pair of networks in every group of samples: columns a, b, group, metric, value.

    logits : (N, C) of each network, by name; labels : (N,) int64; count : of the most and of the least confident
    samples, see `pair_rows`. Metrics: `MEASURES`, that is those of `rates`, and `cka`, the linear CKA of the logits,
    each row less its mean. A constant added to a row of logits changes nothing; one added to a column leaves `cka` of
    all, seen and absent samples as it is. Of two networks the first in the mapping is a. NaN for an empty group. Raises
    UserError for shapes or labels that do not fit, NaN logits, and a count below 1.
    """
    if count < 1:
        raise UserError(f"{count} confident samples are asked for; give 1 or more")
    for each in logits.values():
        check_scores(each, labels, split)
    known = {name: predictions(each) for name, each in logits.items()}
    found = []
    for (name_a, a), (name_b, b) in combinations(known.items(), 2):
        for group, rows in pair_rows(a, b, labels, split, count).items():
            values = sample_values(a.classes[rows], b.classes[rows], labels[rows])
            measures = rates({name: value.mean() for name, value in values.items()})
            measures["cka"] = linear_cka(a.centred[rows], b.centred[rows])
            found += [(name_a, name_b, group, metric, float(value)) for metric, value in measures.items()]
    return pd.DataFrame(found, columns=["a", "b", "group", "metric", "value"])
