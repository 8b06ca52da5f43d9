"""Calibrate a fine-tuned model: estimate gamma, add it to the absent logits, and report the accuracies.

gamma is estimated from the fine-tuning data and, where they are given, unlabelled images of the place of use. Labelled
test data only measures its effect.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from ..analysis.gamma.curve import seen_absent_curve, shifted_accuracies, shifted_predictions
from ..analysis.gamma.estimators import ESTIMATORS, PRETRAINED, THIRDS, UNLABELLED, Evidence, estimate_gamma, resolve
from ..analysis.gamma.estimators.pseudo_cv import Fold
from ..analysis.metrics.accuracy import accuracies
from ..analysis.metrics.confusion import confused_pairs
from ..core.class_split import ClassSplit
from ..core.errors import UserError
from ..models.gamma_bias import fold_gamma
from .absent_share import CLASSES, assumed_share, check_options
from .collect import collect_logits, collect_unlabelled, refuse_absent
from .fold_recipe import FoldRecipe
from .folds import describe_folds, train_folds


@dataclass(frozen=True)
class Calibrated:
    """The result of a calibration.

    model : the same architecture with gamma in its head; None if only logits were given.
    gamma : the constant added to the absent logits.
    report : plain values, ready for JSON.
    """

    model: nn.Module | None
    gamma: float
    report: dict


def calibrate(
    model: nn.Module,
    train_loader: Iterable,
    seen: Sequence[int],
    method: str = "alg",
    pretrained: nn.Module | None = None,
    absent_share: float | None = None,
    unlabelled_loader: Iterable | None = None,
    held_out_loader: Iterable | None = None,
    folds: FoldRecipe | None = None,
) -> Calibrated:
    """Estimate gamma on the fine-tuning data and fold it into a copy of `model`.

    model : logits (N, C) for a batch; C comes from its output. train_loader : batches (images, labels) of the
    fine-tuning data without augmentation, labels (N,) int64 of seen classes only. seen : their class indices. method :
    a name in `ESTIMATORS`, or `auto`. pretrained : the model before fine-tuning with the same outputs, for methods that
    compare with it.

    absent_share : the fraction of absent-class samples expected in use, for methods that weigh the groups; None
    estimates it if both loaders below are given, else takes the share of absent classes. unlabelled_loader : batches of
    images of all classes as they occur in use, alone or followed by labels, which are not read; for transductive
    methods. held_out_loader : batches (images, labels) of seen classes that were not trained on.

    folds : the right to repeat the fine-tuning of `pretrained` three times without a third of the seen classes each, as
    this recipe says; for methods that use such folds. All images of `train_loader` are then held in memory.

    Raises UserError for a label of an absent class, an empty loader, an unknown method, a share, images or folds that
    it has no use for, and what `ClassSplit`, `train_folds`, `estimate_gamma` and `fold_gamma` refuse. Source: DESIGN
    section 3; the estimators name theirs.
    """
    method = choose_method(method, pretrained, absent_share, unlabelled_loader, held_out_loader, folds)
    if folds:
        train_loader = list(train_loader)  # one order for logits and folds, also if it shuffles
    models = [model] if pretrained is None else [model, pretrained]
    logits, labels, probe = collect_logits(models, train_loader, seen)
    unlabelled = held_out = None
    if unlabelled_loader is not None:
        unlabelled = collect_unlabelled(model, unlabelled_loader)
    if held_out_loader is not None:
        held_out = collect_logits([model], held_out_loader, seen)[0][0]
    pretrained_logits = logits[1] if pretrained is not None else None
    split, trained = ClassSplit(logits[0].shape[1], seen), None
    if folds:
        images = torch.cat([batch[0] for batch in train_loader])
        del train_loader
        trained = train_folds(pretrained, images, labels, split, pretrained_logits, folds)
    result = calibrate_logits(
        logits[0], labels, seen, method, pretrained_logits, absent_share, unlabelled, held_out, trained
    )
    folded = fold_gamma(model, split, result.gamma, probe)
    about = {"folds": describe_folds(trained, split, folds)} if folds else {}
    return Calibrated(folded, result.gamma, result.report | about)


def calibrate_logits(
    logits: torch.Tensor,
    labels: torch.Tensor,
    seen: Sequence[int],
    method: str = "alg",
    pretrained_logits: torch.Tensor | None = None,
    absent_share: float | None = None,
    unlabelled_logits: torch.Tensor | None = None,
    held_out_logits: torch.Tensor | None = None,
    folds: Sequence[Fold] | None = None,
) -> Calibrated:
    """gamma and the report from logits (N, C), without a model; arguments and errors as in `calibrate`.

    pretrained_logits : (N, C) of the same samples before fine-tuning, or None. unlabelled_logits (N', C),
    held_out_logits (N'', C) : of the fine-tuned model, or None. folds : as `train_folds` makes them, or None. Source:
    ours.
    """
    method = choose_method(method, pretrained_logits, absent_share, unlabelled_logits, held_out_logits, folds)
    split = ClassSplit(logits.shape[-1], seen)
    refuse_absent(labels, split)
    if pretrained_logits is not None and pretrained_logits.shape != logits.shape:
        raise UserError(
            f"the pre-trained logits have shape {tuple(pretrained_logits.shape)} and the fine-tuned ones "
            f"{tuple(logits.shape)}; both must have the same samples and classes"
        )
    share = None
    evidence = Evidence(logits, labels, split, pretrained_logits, thirds=folds, target_logits=unlabelled_logits)
    if ESTIMATORS[method].takes_share:
        share = assumed_share(absent_share, unlabelled_logits, held_out_logits, split)
        if share["source"] != CLASSES:
            evidence = replace(evidence, absent_share=share["value"])
    gamma = estimate_gamma(method, evidence)
    own_data = {"samples": len(labels), "acc_ss": accuracies(logits, labels, split)["acc_ss"]}
    for when, shift in (("before", 0.0), ("after", gamma)):
        predicted = shifted_predictions(logits, split, shift)
        own_data[when] = {
            "acc_sy": (predicted == labels).double().mean().item(),  # all labels are seen
            "predicted_absent": 1 - split.is_seen(predicted).double().mean().item(),
        }
    report = {
        "method": method,
        "gamma": gamma,
        "num_classes": split.num_classes,
        "seen": list(split.seen),
        "absent": list(split.absent),
        "absent_share": share,
        "fine_tuning_data": own_data,
    }
    return Calibrated(None, gamma, report)


def choose_method(
    method: str, pretrained: object, absent_share: float | None, unlabelled: object, held_out: object, folds: object
) -> str:
    """The estimator that `method` means for what is given; what is not given is None. Raises UserError."""
    if folds is not None and pretrained is None:
        raise UserError("folds fine-tune the pre-trained model; give the pre-trained model too, or do without folds")
    given = {PRETRAINED: pretrained, THIRDS: folds, UNLABELLED: unlabelled}
    holds = frozenset(name for name, part in given.items() if part is not None)
    method = resolve(method, holds, knows_share=absent_share is not None or held_out is not None)
    check_options(method, absent_share, unlabelled is not None, held_out is not None)
    if folds is not None and THIRDS not in ESTIMATORS[method].needs:
        users = ", ".join(name for name, known in ESTIMATORS.items() if THIRDS in known.needs)
        raise UserError(f"{method} has no use for folds; leave them out, or choose one of the methods {users}")
    return method


def assess(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit, gamma: float) -> dict:
    """The accuracies on labelled test data before and after the shift by gamma, and with the best possible shift.

    logits : (N, C) of the model as fine-tuned; labels : (N,) int64 of both groups. Keys: samples, seen_samples,
    absent_samples, ausuc, before, after, oracle (its gamma is chosen on these labels, so it is an upper bound and not a
    method), seen_confusions (absent class, the seen class predicted for it, samples so confused before and after, and
    samples of the absent class). Raises UserError if a group has no sample. Source: paper sections 3 and 6.
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
        "after": shifted_accuracies(logits, labels, split, gamma),
        "oracle": {"gamma": best.gamma, "acc_sy": best.acc_sy, "acc_uy": best.acc_uy, "acc_yy": best.acc_yy},
        "seen_confusions": _seen_confusions(logits, labels, split, gamma),
    }


def assess_seen(
    logits: torch.Tensor,
    labels: torch.Tensor,
    split: ClassSplit,
    gamma: float,
    pretrained_logits: torch.Tensor | None = None,
) -> dict:
    """acc_ss and acc_sy on samples of seen classes that were not trained on, before and after the shift by gamma.

    logits : (N, C) of the model as fine-tuned; labels : (N,) int64; pretrained_logits : (N, C), or None. Keys: samples,
    before, after and, with pretrained_logits, pretrained.
    """
    rows = {"before": (logits, 0.0), "after": (logits, gamma)}
    if pretrained_logits is not None:
        rows["pretrained"] = (pretrained_logits, 0.0)
    found: dict = {"samples": len(labels)}
    for row, (its_logits, shift) in rows.items():
        all_five = shifted_accuracies(its_logits, labels, split, shift)
        found[row] = {name: all_five[name] for name in ("acc_ss", "acc_sy")}
    return found


def _seen_confusions(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit, gamma: float) -> list[dict]:
    """Samples of each absent class that are predicted as each seen class; the most frequent before calibration
    first."""
    total = labels.bincount(minlength=split.num_classes).tolist()
    rows: dict[tuple[int, int], dict] = {}
    for when, shift in (("before", 0.0), ("after", gamma)):
        predicted = shifted_predictions(logits, split, shift)
        for absent, seen, taken in confused_pairs(predicted, labels, split).tolist():
            if (absent, seen) not in rows:
                rows[absent, seen] = {"absent": absent, "seen": seen, "before": 0, "after": 0, "of": total[absent]}
            rows[absent, seen][when] = taken
    return sorted(rows.values(), key=lambda row: (-row["before"], -row["after"], row["absent"], row["seen"]))
