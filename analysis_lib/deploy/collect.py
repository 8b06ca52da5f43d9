"""Logits of users' models on users' data: one pass through the batches, with a check of the labels."""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from ..core.class_split import ClassSplit
from ..core.errors import UserError
from ..core.progress import progress
from ..models.gamma_bias import logits_of, placed


def collect_logits(
    models: Sequence[nn.Module], loader: Iterable, seen: Sequence[int] | None
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """One pass of `loader` through several models in eval mode, each on its own device.

    Returns their logits (N, C) on the CPU, labels (N,) int64, and the first two images. With `seen`, raises UserError
    at the first batch that holds another class. Raises UserError for an empty loader and models that differ in C.
    """
    parts = [[] for _ in models]
    labels, probe = [], None
    for images, batch_labels in progress(loader, "logits"):
        batch_labels = torch.as_tensor(batch_labels).cpu().long()
        for part, model in zip(parts, models):
            logits = logits_of(model, placed(images, model)).cpu()
            part.append(logits.to(torch.promote_types(logits.dtype, torch.float32)))
        outputs, pretrained_outputs = parts[0][-1].shape[1], parts[-1][-1].shape[1]
        if outputs != pretrained_outputs:
            raise UserError(
                f"the pre-trained model has {pretrained_outputs} outputs and the fine-tuned one "
                f"{outputs}; give its head the same classes in the same order"
            )
        if seen is not None:
            refuse_absent(batch_labels, ClassSplit(outputs, seen))
        if probe is None:
            probe = placed(images[:2], models[0])
        labels.append(batch_labels)
    if not labels:
        raise UserError("the data has no batch; give at least one image of the fine-tuning data")
    return [torch.cat(part) for part in parts], torch.cat(labels), probe


def collect_unlabelled(model: nn.Module, loader: Iterable) -> torch.Tensor:
    """Logits (N, C) on the CPU from batches of images, alone or followed by labels, which are not read.

    Raises UserError for an empty loader.
    """
    parts = []
    for batch in progress(loader, "unlabelled"):
        images = batch[0] if isinstance(batch, (list, tuple)) else batch
        logits = logits_of(model, placed(images, model)).cpu()
        parts.append(logits.to(torch.promote_types(logits.dtype, torch.float32)))
    if not parts:
        raise UserError("the unlabelled data has no batch; give at least one image of the target")
    return torch.cat(parts)


def refuse_absent(labels: torch.Tensor, split: ClassSplit) -> None:
    """Raise UserError if fine-tuning labels (N,) are not classes of `split`, or are absent classes of it."""
    outside = labels[(labels < 0) | (labels >= split.num_classes)]
    if len(outside):
        raise UserError(
            f"label {int(outside[0])} is outside 0..{split.num_classes - 1}; correct the labels of the fine-tuning data"
        )
    absent = labels[~split.is_seen(labels)]
    if len(absent):
        raise UserError(
            f"the fine-tuning data holds {len(absent)} samples of class {int(absent[0])} or others that are not among "
            "the seen classes; gamma must not see absent classes: drop these samples, or name the class as seen"
        )
