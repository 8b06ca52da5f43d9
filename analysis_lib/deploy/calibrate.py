"""The practitioner's door: any fine-tuned model in, a calibrated model out.

gamma comes from the fine-tuning data alone. Labelled test data only measures what gamma does.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..analysis.gamma.curve import seen_absent_curve, shift_logits
from ..analysis.gamma.estimators import Evidence, estimate_gamma, resolve
from ..analysis.metrics.accuracy import accuracies
from ..analysis.metrics.confusion import seen_confusions
from ..core.class_split import ClassSplit
from ..core.errors import UserError
from ..core.progress import progress
from ..models.gamma_bias import fold_gamma, logits_of


@dataclass(frozen=True)
class Calibrated:
    """model : the same architecture with gamma in its head, None where only logits were given; gamma : added to the
    absent logits; report : plain values, ready for JSON."""

    model: nn.Module | None
    gamma: float
    report: dict


def calibrate(
    model: nn.Module,
    train_loader: Iterable,
    seen: Sequence[int],
    method: str = "alg",
    pretrained: nn.Module | None = None,
) -> Calibrated:
    """Estimate gamma on the fine-tuning data and fold it into a copy of `model`.

    model : logits (N, C) for a batch; C comes from its output. train_loader : batches (images, labels) of the
    fine-tuning data without augmentation, labels (N,) int64 of seen classes only. seen : their class indices. method :
    a name in `ESTIMATORS`, or `auto`. pretrained : the model before fine-tuning with the same outputs, for methods that
    compare with it. Raises UserError for a label of an absent class, an empty loader, an unknown method, and what
    `ClassSplit`, `estimate_gamma` and `fold_gamma` refuse. Source: DESIGN section 3; the estimators name theirs.
    """
    method = resolve(method, pretrained is not None)
    models = [model] if pretrained is None else [model, pretrained]
    logits, labels, probe = collect_logits(models, train_loader, seen)
    result = calibrate_logits(logits[0], labels, seen, method, *logits[1:])
    return Calibrated(
        fold_gamma(model, ClassSplit(logits[0].shape[1], seen), result.gamma, probe), result.gamma, result.report
    )


def calibrate_logits(
    logits: torch.Tensor,
    labels: torch.Tensor,
    seen: Sequence[int],
    method: str = "alg",
    pretrained_logits: torch.Tensor | None = None,
) -> Calibrated:
    """gamma and the report for logits (N, C) that are at hand, without a model; arguments and errors as in `calibrate`.

    pretrained_logits : (N, C) of the same samples before fine-tuning, or None. Source: ours.
    """
    method = resolve(method, pretrained_logits is not None)
    split = ClassSplit(logits.shape[-1], seen)
    refuse_absent(labels, split)
    if pretrained_logits is not None and pretrained_logits.shape != logits.shape:
        raise UserError(
            f"the pre-trained logits have shape {tuple(pretrained_logits.shape)} and the fine-tuned ones "
            f"{tuple(logits.shape)}; both must have the same samples and classes"
        )
    gamma = estimate_gamma(method, Evidence(logits, labels, split, pretrained_logits))
    report = {
        "method": method,
        "gamma": gamma,
        "num_classes": split.num_classes,
        "seen": list(split.seen),
        "absent": list(split.absent),
        "fine_tuning_data": {"samples": len(labels), "acc_ss": accuracies(logits, labels, split)["acc_ss"]}
        | {
            when: {
                "acc_sy": accuracies(z, labels, split)["acc_sy"],
                "predicted_absent": 1 - split.is_seen(z.argmax(1)).double().mean().item(),
            }
            for when, z in (("before", logits), ("after", shift_logits(logits, split, gamma)))
        },
    }
    return Calibrated(None, gamma, report)


def assess(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit, gamma: float) -> dict:
    """What gamma does on labelled test data: accuracies before and after, and the best any shift could do.

    logits : (N, C) of the model as fine-tuned; labels : (N,) int64 of both groups. Keys: samples, seen_samples,
    absent_samples, ausuc, before, after, oracle (its gamma is chosen on these labels, so it is an upper bound and no
    method), seen_confusions (absent class, the seen class that takes it, samples taken before and after, of how many).
    Raises UserError when a group has no sample. Source: paper sections 3 and 6.
    """
    curve = seen_absent_curve(logits, labels, split)
    seen = split.is_seen(labels)
    if seen.all() or not seen.any():
        raise UserError(
            f"the test data has only {'seen' if seen.all() else 'absent'} classes; it takes images of both to see "
            "what gamma does"
        )
    best = curve.best()
    return {
        "samples": len(labels),
        "seen_samples": int(seen.sum()),
        "absent_samples": int((~seen).sum()),
        "ausuc": curve.ausuc,
        "before": accuracies(logits, labels, split),
        "after": accuracies(shift_logits(logits, split, gamma), labels, split),
        "oracle": {"gamma": best.gamma, "acc_sy": best.acc_sy, "acc_uy": best.acc_uy, "acc_yy": best.acc_yy},
        "seen_confusions": _seen_confusions(logits, labels, split, gamma),
    }


def collect_logits(
    models: Sequence[nn.Module], loader: Iterable, seen: Sequence[int] | None
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """One pass of `loader` through several models in eval mode, each on its own device.

    Returns their logits (N, C) on the CPU, labels (N,) int64, and the first two images. With `seen`, raises UserError
    at the first batch that holds another class. Raises UserError for an empty loader and models that differ in C.
    """
    parts, labels, probe = [[] for _ in models], [], None
    for images, batch_labels in progress(loader, "logits"):
        batch_labels = torch.as_tensor(batch_labels).cpu().long()
        for part, model in zip(parts, models):
            logits = logits_of(model, _placed(images, model)).cpu()
            part.append(logits.to(torch.promote_types(logits.dtype, torch.float32)))
        if parts[0][-1].shape[1] != parts[-1][-1].shape[1]:
            raise UserError(
                f"the pre-trained model has {parts[-1][-1].shape[1]} outputs and the fine-tuned one "
                f"{parts[0][-1].shape[1]}; give its head the same classes in the same order"
            )
        if seen is not None:
            refuse_absent(batch_labels, ClassSplit(parts[0][-1].shape[1], seen))
        probe = _placed(images[:2], models[0]) if probe is None else probe
        labels.append(batch_labels)
    if not labels:
        raise UserError("the data has no batch; give at least one image of the fine-tuning data")
    return [torch.cat(part) for part in parts], torch.cat(labels), probe


def refuse_absent(labels: torch.Tensor, split: ClassSplit) -> None:
    """Raise UserError when fine-tuning labels (N,) are no classes of `split`, or classes that it calls absent."""
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


def _placed(images: torch.Tensor, model: nn.Module) -> torch.Tensor:
    weight = next(model.parameters(), torch.empty(0))
    return images.to(weight) if images.is_floating_point() else images.to(weight.device)


def _seen_confusions(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit, gamma: float) -> list[dict]:
    """Which seen class takes samples of which absent class; most taken before calibration first."""
    total = labels.bincount(minlength=split.num_classes).tolist()
    rows: dict[tuple[int, int], dict] = {}
    for when, z in (("before", logits), ("after", shift_logits(logits, split, gamma))):
        for absent, seen, taken in seen_confusions(z, labels, split).tolist():
            row = rows.setdefault(
                (absent, seen), {"absent": absent, "seen": seen, "before": 0, "after": 0, "of": total[absent]}
            )
            row[when] = taken
    return sorted(rows.values(), key=lambda row: (-row["before"], -row["after"], row["absent"], row["seen"]))
