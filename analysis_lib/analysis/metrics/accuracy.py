"""The five accuracies.

Letters: N samples, C classes; S the seen classes (in the fine-tuning data), U the absent ones, Y = S + U.
"""

from collections.abc import Sequence

import torch

from ...core.class_split import ClassSplit
from ...core.errors import UserError

ACCURACIES = ("acc_yy", "acc_sy", "acc_uy", "acc_ss", "acc_uu")


def check_scores(scores: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> None:
    """The contract of (N, C) scores with (N,) labels. Raises UserError; a score of -inf means "never predicted"."""
    if scores.ndim != 2 or scores.shape[1] != split.num_classes:
        raise UserError(f"logits have shape {tuple(scores.shape)}; expected (N, {split.num_classes})")
    if labels.shape != scores.shape[:1]:
        raise UserError(f"labels have shape {tuple(labels.shape)}; expected ({scores.shape[0]},) as for the logits")
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < split.num_classes:
        raise UserError(f"labels span {int(labels.min())}..{int(labels.max())}; expected 0..{split.num_classes - 1}")
    if torch.isnan(scores).any():
        row = int(torch.isnan(scores).any(1).nonzero()[0])
        raise UserError(f"logits hold NaN, first in row {row}; check the model that made them")


def max_over(scores: torch.Tensor, columns: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest score among `columns` and its class, both (N,); the lowest class wins a tie."""
    index = torch.tensor(columns, device=scores.device)
    parts = [part[:, index].max(1) for part in scores.split(1024)]  # small copies stay in the cache
    value, position = (torch.cat(column) for column in zip(*parts))
    return value, index[position]


def accuracies(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit) -> dict[str, float]:
    """Acc_{A/B}: the share of samples with label in A that are right when choosing among the classes B.

    logits : (N, C); labels : (N,) int64. Returns fractions under `acc_yy acc_sy acc_uy acc_ss acc_uu`, micro averages;
    NaN for a group without samples. Raises UserError for shapes or labels that do not fit. Source: paper section 3.
    """
    check_scores(logits, labels, split)
    everywhere = torch.ones_like(labels, dtype=torch.bool)
    seen = split.is_seen(labels)
    rows = {"y": everywhere, "s": seen, "u": ~seen}
    predicted = {"y": logits.argmax(1), "s": max_over(logits, split.seen)[1], "u": max_over(logits, split.absent)[1]}
    return {f"acc_{a}{b}": (predicted[b] == labels)[rows[a]].double().mean().item() for a, b in (key[-2:] for key in ACCURACIES)}
