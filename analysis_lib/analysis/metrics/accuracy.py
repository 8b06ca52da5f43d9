"""The five accuracies, top 1 and top k, and the groups of samples that every metric is computed over.

Letters: N samples, C classes; S the seen classes (in the fine-tuning data), U the absent ones, Y = S + U.
"""

import math
from collections.abc import Mapping, Sequence

import torch

from ...core.class_split import ClassSplit
from ...core.errors import UserError

ACCURACIES = ("acc_yy", "acc_sy", "acc_uy", "acc_ss", "acc_uu")


def check_scores(scores: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> None:
    """Check (N, C) scores and (N,) labels. Raises UserError. A score of -inf is allowed: "never predicted"."""
    if scores.ndim != 2 or scores.shape[1] != split.num_classes:
        raise UserError(f"logits have shape {tuple(scores.shape)}; expected (N, {split.num_classes})")
    if labels.shape != scores.shape[:1]:
        raise UserError(f"labels have shape {tuple(labels.shape)}; expected ({scores.shape[0]},) as for the logits")
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < split.num_classes:
        raise UserError(f"labels span {int(labels.min())}..{int(labels.max())}; expected 0..{split.num_classes - 1}")
    rows = torch.isnan(scores.amax(1))  # a maximum keeps NaN, and needs no mask as large as the scores
    if rows.any():
        row = int(rows.nonzero()[0])
        raise UserError(f"logits hold NaN, first in row {row}; check the model that made them")


def max_over(scores: torch.Tensor, columns: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest score among `columns` and its class, both (N,); the lowest class wins a tie."""
    index = torch.tensor(columns, device=scores.device)
    value, position = scores.new_empty(len(scores)), index.new_empty(len(scores))
    # small copies stay in the cache; with the results allocated beforehand, each finds the place that the last one left
    for start in range(0, len(scores), 1024):
        rows = slice(start, start + 1024)
        value[rows], position[rows] = scores[rows][:, index].max(1)
    return value, index[position]


def group_masks(labels: torch.Tensor, split: ClassSplit) -> dict[str, torch.Tensor]:
    """The samples of each group, (N,) bool: `y` all, `s` of seen classes, `u` of absent classes."""
    seen = split.is_seen(labels)
    return {"y": torch.ones_like(seen), "s": seen, "u": ~seen}


def by_group(values: Mapping[str, torch.Tensor], seen: torch.Tensor) -> dict[str, float]:
    """The mean of each value over the seen and over the absent samples (or classes); NaN for an empty group.

    values : (N,) each, by name; seen : (N,) bool. Returns `<name>_s` and `<name>_u` for each name.
    """
    means = {}
    for name, value in values.items():
        means[f"{name}_s"] = value[seen].mean().item()
        means[f"{name}_u"] = value[~seen].mean().item()
    return means


def accuracies(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> dict[str, float]:
    """Acc_{A/B}: the share of samples with label in A that are predicted right among the classes B.

    logits : (N, C); labels : (N,) int64. Returns fractions under `acc_yy acc_sy acc_uy acc_ss acc_uu`, micro averages;
    NaN for a group without samples. Raises UserError for shapes or labels that do not fit. Source: paper section 3.
    """
    check_scores(logits, labels, split)
    return shares_right(right_among(logits, labels, split), labels, split)


def right_among(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> torch.Tensor:
    """Whether each sample is predicted right among Y, among S and among U, (N, 3) bool; shapes as `accuracies`."""
    predicted = logits.argmax(1), max_over(logits, split.seen)[1], max_over(logits, split.absent)[1]
    return torch.stack([classes == labels for classes in predicted], 1)


def shares_right(right: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> dict[str, float]:
    """The five accuracies from what `right_among` says of each sample."""
    samples, columns = group_masks(labels, split), dict(zip("ysu", right.T))
    found = {}
    for name in ACCURACIES:
        group, among = name[-2:]
        found[name] = columns[among][samples[group]].double().mean().item()
    return found


def top_k_accuracies(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit, k: int = 5) -> dict[str, float]:
    """Acc_{A/B} at top k: the share of samples with label in A whose label is among the k best classes of B.

    Arguments and errors as `accuracies`, whose values it gives for k = 1. Returns fractions under `top<k>_yy` and so
    on. NaN for a group without samples, and for classes B of which there are at most k: every sample would be right.
    The lower class is the better one of a tie; a label with score -inf is never among the best. Source: the paper's
    published code.
    """
    check_scores(logits, labels, split)
    samples = group_masks(labels, split)
    columns = {"y": range(split.num_classes), "s": split.seen, "u": split.absent}
    found = {}
    for name in ACCURACIES:
        group, among = name[-2:]
        rows, classes = samples[group], torch.tensor(columns[among], device=logits.device)
        right = _ranks(logits[rows], labels[rows], classes) < k
        value = right.double().mean().item() if len(classes) > k else math.nan
        found[f"top{k}_{group}{among}"] = value
    return found


def _ranks(scores: torch.Tensor, labels: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """How many of `classes` are better than the label, (N,): 0 for the best; all of them for a label scored -inf."""
    own, others = scores.gather(1, labels[:, None]), scores[:, classes]
    better = (others > own) | ((others == own) & (classes < labels[:, None]))
    return better.sum(1).masked_fill(own.squeeze(1) == -torch.inf, len(classes))
