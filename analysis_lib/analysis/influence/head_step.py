"""The first gradient step of the head, in closed form."""

import torch
from torch.nn.functional import one_hot

from ...core.class_split import ClassSplit
from ...core.errors import UserError


def logit_gradients(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """p_i - e_{y_i}, (N, C) float64: the gradient of each sample's cross-entropy in its logits."""
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise UserError(
            f"logits have shape {tuple(logits.shape)} and labels {tuple(labels.shape)}; expected (N, C) and (N,)"
        )
    num_classes = logits.shape[1]
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise UserError(f"labels span {int(labels.min())}..{int(labels.max())}; expected 0..{num_classes - 1}")
    return torch.softmax(logits.double(), 1) - one_hot(labels, num_classes)


def feature_gradients(logits: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """g_i = W^T (p_i - e_{y_i}): the gradient of each sample's cross-entropy in its features.

    logits : (N, C); labels : (N,) int64; weight : (C, D) of the head. Returns (N, D). Raises UserError for labels that
    do not fit. Source: ours, after the paper's explanation by gradient similarity.
    """
    return logit_gradients(logits, labels) @ weight.double()


def head_step(features: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One SGD step of learning rate 1 on the head: dw_c = -(1/N) sum_i (p_ic - 1[y_i=c]) f_i, and db likewise.

    features : (N, D), logits : (N, C), labels : (N,) int64 of the fine-tuning data. Returns (C, D) and (C,). The
    weights of a class without samples move away from every feature, in proportion to p_ic. Errors as in
    `feature_gradients`. Source: ours, after the paper's explanation by gradient similarity.
    """
    residuals = logit_gradients(logits, labels)
    return -residuals.T @ features.double() / len(labels), -residuals.mean(0)


def head_offset(
    features: torch.Tensor, weight_step: torch.Tensor, bias_step: torch.Tensor, split: ClassSplit
) -> torch.Tensor:
    """The change of (mean absent logit - mean seen logit) of each sample by one step of the head.

    features : (N', D); weight_step, bias_step : (C, D) and (C,) as from `head_step`. Returns (N',), in logits;
    negative if the absent classes lose. Raises UserError for a split of other classes. Source: ours.
    """
    if len(weight_step) != split.num_classes:
        raise UserError(
            f"the step is of {len(weight_step)} classes and the split of {split.num_classes}; they must agree"
        )
    change = features.double() @ weight_step.double().T + bias_step.double()
    return change[:, list(split.absent)].mean(1) - change[:, list(split.seen)].mean(1)
