"""The linear head of a study's runs, by epoch."""

import pandas as pd
import torch

from ..analysis.metrics import feature_drift, head_weights
from ..core.run_spec import RunSpec
from ..runs.run_set import FINE_TUNED, RunSet
from .features import COLUMNS


def head_by_epoch(runs: RunSet) -> pd.DataFrame:
    """Metrics of the linear head and of the logits of absent samples: columns seed, epoch, metric, value.

    Metrics: `weight_norm_* bias_* feature_norm_*` per group and `weight_norm_s - weight_norm_u`; `gap norm_part
    angle_part bias_part` of the mean logit gap on absent samples, and `angle_part - norm_part`; `logit_true
    logit_other_absent logit_seen`; against epoch 0, `update_ss update_uu update_su` (mean cosines of head updates),
    `update_uu - update_su`, `update_uu - update_ss`, and `relation_change_* relation_cosine_*` among the classes of
    each group, with `relation_change_s - relation_change_u`.
    """
    rows = []
    for spec in runs.specs:
        split = runs.split(spec)
        start, _ = runs.head(spec, 0)
        for epoch in runs.epochs(spec):
            weight, bias = runs.head(spec, epoch)
            test = runs.outputs(spec, epoch, "test")
            absent = test.features[~split.is_seen(test.labels)]
            found = head_weights.head_norms(weight, bias, split)
            found |= head_weights.feature_norms(test.features, test.labels, split)
            found["weight_norm_s - weight_norm_u"] = found["weight_norm_s"] - found["weight_norm_u"]
            found |= head_weights.logit_gap(weight, bias, absent, split)
            found |= feature_drift.absent_logits(test.logits, test.labels, split)
            found["angle_part - norm_part"] = found["angle_part"] - found["norm_part"]
            if epoch:
                blocks = head_weights.block_means(head_weights.update_similarity(start, weight), split)
                found |= {f"update_{name}": value for name, value in blocks.items()}
                found["update_uu - update_su"] = blocks["uu"] - blocks["su"]
                found["update_uu - update_ss"] = blocks["uu"] - blocks["ss"]
                for group, classes in (("s", split.seen), ("u", split.absent)):
                    changed = head_weights.relation_change(start, weight, classes)
                    found |= {f"{name}_{group}": value for name, value in changed.items()}
                difference = found["relation_change_s"] - found["relation_change_u"]
                found["relation_change_s - relation_change_u"] = difference
            rows += [(spec.seed, epoch, *pair) for pair in found.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def update_similarity(runs: RunSet, spec: RunSpec) -> torch.Tensor:
    """Cosines (C, C) between the changes of the head's rows over the whole fine-tuning of a run."""
    before, _ = runs.head(spec, 0)
    after, _ = runs.head(spec, spec.epochs)
    return head_weights.update_similarity(before, after)


def offsets(runs: RunSet, gammas: pd.DataFrame) -> pd.DataFrame:
    """The offset that the head's change adds against absent classes, and the gammas that undo it (M8).

    Columns: seed, quantity, value. `head offset` is the mean seen logit minus the mean absent logit of the head's whole
    change, on absent test features after fine-tuning. The other quantities are the methods of `gammas`, from
    `calibration.calibrations`.
    """
    rows = []
    for spec in runs.specs:
        split, test = runs.split(spec), runs.outputs(spec, spec.epochs, "test")
        start_weight, start_bias = runs.head(spec, 0)
        weight, bias = runs.head(spec, spec.epochs)
        absent = test.features[~split.is_seen(test.labels)]
        gap = head_weights.logit_gap(weight - start_weight, bias - start_bias, absent, split)
        rows.append((spec.seed, "head offset", gap["gap"]))
    frame = pd.DataFrame(rows, columns=["seed", "quantity", "value"])
    chosen = gammas[gammas["checkpoint"] == FINE_TUNED].rename(columns={"method": "quantity", "gamma": "value"})
    return pd.concat([frame, chosen[["seed", "quantity", "value"]]], ignore_index=True)
