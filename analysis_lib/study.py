"""A study: the fine-tuning runs of one benchmark and profile over seeds, and what they show as tidy tables.

Every table has one row per seed and thing measured; `tables` averages over seeds. Test samples are scored; where
absent-class labels enter a choice, the row says *oracle*.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from . import paths, runs, runtime
from .analysis.accuracy import accuracies, best_in
from .analysis.calibration import (
    Fold,
    SeenAbsentCurve,
    average_logit_gap,
    balanced_accuracy,
    overall_accuracy,
    pseudo_cross_validation,
    seen_absent_curve,
    shift_logits,
)
from .analysis.decomposition import softmax_decomposition
from .analysis.estimators import ESTIMATORS, Evidence, estimate_gamma
from .analysis.ncm import class_means, ncm_scores
from .analysis.uncertainty import bootstrap_differences
from .data.images import load_images
from .data.manifest import Manifest, load_manifest
from .outputs import Outputs, load_outputs
from .spec import RunSpec
from .split import ClassSplit

PRE_TRAINED, FINE_TUNED = "pre-trained", "fine-tuned"
NONE, ORACLE = "none", "gamma* (oracle)"
CROSS_VALIDATED = {"pcv": overall_accuracy, "pcv_balanced": balanced_accuracy}
METHODS = (NONE, *ESTIMATORS, *CROSS_VALIDATED, ORACLE)


@dataclass(frozen=True)
class Study:
    """The finished runs and their manifest; made by `open_study`."""

    manifest: Manifest
    specs: tuple[RunSpec, ...]
    device: str = ""

    @property
    def benchmark(self) -> str:
        return self.manifest.name

    @property
    def images(self):
        """(N, 3, H, W) uint8 in manifest order."""
        return load_images(self.manifest)

    def split(self, spec: RunSpec) -> ClassSplit:
        return self.manifest.class_split(spec.seed, spec.seen)

    def checkpoints(self, spec: RunSpec) -> dict[str, int]:
        return {PRE_TRAINED: 0, FINE_TUNED: spec.epochs}

    def outputs(self, spec: RunSpec, epoch: int, part: str) -> Outputs:
        """Outputs on `train` or `test` (all classes) after an epoch; epoch 0 is the pre-trained model."""
        return load_outputs(paths.run_outputs(spec.run_id, epoch, part))

    def curve(self, spec: RunSpec, epoch: int) -> SeenAbsentCurve:
        """The seen-absent curve of the test samples."""
        test = self.outputs(spec, epoch, "test")
        return seen_absent_curve(test.logits, test.labels, self.split(spec))

    def fine_tuning_outputs(self, spec: RunSpec, epoch: int) -> Outputs:
        """Outputs on the fine-tuning data: training images of seen classes only."""
        train = self.outputs(spec, epoch, "train")
        return train.where(self.split(spec).is_seen(train.labels))


def folds_of(study: Study, spec: RunSpec) -> list[Fold]:
    """The folds of pseudo cross-validation of a run: held-out images of what each trained on, all of what it did not.

    Makes the fold runs that are missing. Rows and columns of the run's absent classes are dropped before anything is
    computed.
    """
    split, columns = study.split(spec), list(study.split(spec).seen)
    position = torch.full((split.num_classes,), -1)
    position[columns] = torch.arange(len(columns))
    folds = []
    for fold in runs.fold_specs(spec):
        runs.execute(fold, study.device)
        own = study.split(fold)
        pseudo = ClassSplit(len(columns), position[list(own.seen)].tolist())
        before, after = ([study.outputs(fold, epoch, part) for part in ("train", "test")] for epoch in (0, fold.epochs))
        rows = [split.is_seen(part.labels) & ~own.is_seen(part.labels) for part in after]
        rows[1] |= own.is_seen(after[1].labels)
        logits, pretrained = (torch.cat([part.logits[keep][:, columns] for part, keep in zip(parts, rows)]) for parts in (after, before))
        folds.append(Fold(logits, pretrained, position[torch.cat([part.labels[keep] for part, keep in zip(after, rows)])], pseudo))
    return folds


def open_study(benchmark: str, profile: str, seeds: Sequence[int], device: str = "") -> Study:
    """Make the runs that are missing and open them all. Raises UserError as planning and executing do."""
    specs = runs.plan(benchmark, profile, seeds)
    for spec in specs:
        runs.execute(spec, device)
    return Study(load_manifest(benchmark), tuple(specs), device)


def overview(manifest: Manifest, seeds: Sequence[int]) -> pd.DataFrame:
    """Classes and images per seed: columns seed, group, classes, train, test.

    Training images of absent classes never reach fine-tuning; only the NCM probe uses them.
    """
    rows = []
    for seed in seeds:
        split = manifest.class_split(seed)
        seen = split.is_seen(manifest.labels)
        for group, classes, mask in (("seen", split.seen, seen), ("absent", split.absent, ~seen)):
            counts = {part: int(mask[manifest.rows(part)].sum()) for part in ("train", "test")}
            rows.append({"seed": seed, "group": group, "classes": len(classes), **counts})
    return pd.DataFrame(rows)


def gallery(manifest: Manifest, seed: int, most: int = 32) -> tuple[list[int], list[str]]:
    """Rows of one training image for up to `most` classes, and titles that say whether each class is seen."""
    split = manifest.class_split(seed)
    order = torch.randperm(split.num_classes, generator=runtime.generator_for("gallery", manifest.name, seed))[:most].sort().values
    labels, train = manifest.labels, manifest.rows("train")
    rows, titles = [], []
    for label in order.tolist():
        own = train[labels[train] == label]
        rows.append(own[torch.randint(len(own), (), generator=runtime.generator_for("gallery", manifest.name, seed, label))].item())
        titles.append(f"{manifest.class_names[label][:14]} ({'seen' if label in split.seen else 'absent'})")
    return rows, titles


def metrics_by_epoch(study: Study) -> pd.DataFrame:
    """Everything that is one number per checkpoint: columns seed, epoch, metric, value, samples.

    Metrics: the five head accuracies; `ncm_` the same with class means from all classes' training images (*oracle*
    features probe); `p_absent_*`, `p_within_*`, `confusion_*`, `wrong_within_*`, `wrong_group_*` of the softmax
    decomposition; `ausuc`; `alg`, gamma from the fine-tuning data.
    """
    rows = []
    for spec in study.specs:
        split = study.split(spec)
        for epoch in range(spec.epochs + 1):
            test, train = study.outputs(spec, epoch, "test"), study.outputs(spec, epoch, "train")
            fine_tuning = train.where(split.is_seen(train.labels))
            means = class_means(train.features, train.labels, split.num_classes)
            probe = accuracies(ncm_scores(test.features, means), test.labels, split)
            n_seen = int(split.is_seen(test.labels).sum())
            n = {"s": n_seen, "u": len(test.labels) - n_seen, "y": len(test.labels)}
            by_group = accuracies(test.logits, test.labels, split) | {f"ncm_{key}": value for key, value in probe.items()}
            measured = (
                [(metric, value, n[metric[-2]]) for metric, value in by_group.items()]
                + [(metric, value, n[metric[-1]]) for metric, value in softmax_decomposition(test.logits, test.labels, split).summary().items()]
                + [("ausuc", seen_absent_curve(test.logits, test.labels, split).ausuc, n["y"])]
                + [("alg", average_logit_gap(fine_tuning.logits, fine_tuning.labels, split), len(fine_tuning.labels))]
            )
            rows += [(spec.seed, epoch, *row) for row in measured]
    return pd.DataFrame(rows, columns=["seed", "epoch", "metric", "value", "samples"])


def checkpoints_only(study: Study, by_epoch: pd.DataFrame) -> pd.DataFrame:
    """The first and last epoch of `metrics_by_epoch`, with a column checkpoint in place of epoch."""
    epochs = study.specs[0].epochs
    ends = by_epoch[by_epoch["epoch"].isin([0, epochs])]
    return ends.assign(checkpoint=ends["epoch"].map({0: PRE_TRAINED, epochs: FINE_TUNED})).drop(columns="epoch")


def curves(study: Study) -> pd.DataFrame:
    """The seen-absent curves: columns seed, checkpoint, gamma, acc_sy, acc_uy, acc_yy; one row per state."""
    frames = []
    for spec in study.specs:
        for checkpoint, epoch in study.checkpoints(spec).items():
            curve = study.curve(spec, epoch)
            frames.append(pd.DataFrame({
                "seed": spec.seed, "checkpoint": checkpoint, "gamma": curve.gamma, "acc_sy": curve.acc_sy,
                "acc_uy": curve.acc_uy, "acc_yy": curve.acc_yy,
            }))
    return pd.concat(frames, ignore_index=True)


def gammas(study: Study, spec: RunSpec) -> dict[str, float]:
    """gamma of the fine-tuned model by every method, in the order of `METHODS`; makes PCV's fold runs if missing.

    All but the oracle see the fine-tuning data alone.
    """
    split, after = study.split(spec), study.fine_tuning_outputs(spec, spec.epochs)
    evidence = Evidence(after.logits, after.labels, split, study.fine_tuning_outputs(spec, 0).logits)
    estimated = {name: estimate_gamma(name, evidence) for name in ESTIMATORS}
    folds = folds_of(study, spec)
    crossed = {name: pseudo_cross_validation(folds, estimated["alg"], score) for name, score in CROSS_VALIDATED.items()}
    return {NONE: 0.0, **estimated, **crossed, ORACLE: study.curve(spec, spec.epochs).best().gamma}


def calibrations(study: Study) -> pd.DataFrame:
    """Shifts and what they give: columns seed, checkpoint, method, gamma, acc_sy, acc_uy, acc_yy, share.

    The pre-trained model with no shift, ALG's and the oracle's; the fine-tuned one with every method of `gammas`. `share`
    is the part of the oracle's gain in Acc_Y/Y over no shift that a method reaches.
    """
    rows = []
    for spec in study.specs:
        start, end = study.curve(spec, 0), study.curve(spec, spec.epochs)
        before = study.fine_tuning_outputs(spec, 0)
        plain = {NONE: 0.0, "alg": average_logit_gap(before.logits, before.labels, study.split(spec)), ORACLE: start.best().gamma}
        for checkpoint, curve, shifts in (
            (PRE_TRAINED, start, plain),
            (FINE_TUNED, end, gammas(study, spec)),
        ):
            none, best = curve.at(0.0).acc_yy, curve.best().acc_yy
            for method, gamma in shifts.items():
                point = curve.at(gamma)
                share = (point.acc_yy - none) / (best - none) if best > none else float("nan")
                rows.append({"seed": spec.seed, "checkpoint": checkpoint, "method": method, **vars(point), "share": share})
    return pd.DataFrame(rows)


def calibration_intervals(study: Study, calibrated: pd.DataFrame, against: str = f"{PRE_TRAINED}, {NONE}") -> pd.DataFrame:
    """Every state of `calibrations` minus one of them, with paired bootstrap intervals over test samples and seeds.

    Columns: state, metric, mean, low, high, n_samples, n_seeds. A state reads `<checkpoint>, <method>`.
    """
    values = []
    for spec in study.specs:
        split, rows = study.split(spec), []
        own = calibrated[calibrated["seed"] == spec.seed]
        for line in own.itertuples():
            test = study.outputs(spec, study.checkpoints(spec)[line.checkpoint], "test")
            right = (shift_logits(test.logits, split, line.gamma).argmax(1) == test.labels).double()
            seen = split.is_seen(test.labels)
            rows += [right.where(seen, torch.nan), right.where(~seen, torch.nan), right]
        values.append(torch.stack(rows))
    states = (own["checkpoint"] + ", " + own["method"]).tolist()
    keys = ("acc_sy", "acc_uy", "acc_yy")
    names = [f"{state}: {key}" for state in states for key in keys]
    pairs = [(f"{state}: {key}", f"{against}: {key}") for state in states if state != against for key in keys]
    table = bootstrap_differences(values, names, pairs, runtime.generator_for("bootstrap", study.benchmark))
    state_and_metric = table.pop("a").str.rsplit(": ", n=1)
    return table.drop(columns="b").assign(state=state_and_metric.str[0], metric=state_and_metric.str[1])[
        ["state", "metric", "mean", "low", "high", "n_samples", "n_seeds"]]


def thieves(study: Study) -> pd.DataFrame:
    """Which seen classes take the absent samples after fine-tuning: columns seed, absent, seen, taken, of.

    A row counts test samples of one absent class that are predicted as one seen class, `of` all of that absent class.
    """
    rows = []
    for spec in study.specs:
        split = study.split(spec)
        test = study.outputs(spec, spec.epochs, "test")
        lost = ~split.is_seen(test.labels) & split.is_seen(test.logits.argmax(1))
        frame = pd.DataFrame({"absent": test.labels[lost], "seen": best_in(test.logits, split.seen)[1][lost]})
        counts = frame.value_counts().rename("taken").reset_index()
        total = test.labels.bincount(minlength=split.num_classes).numpy()
        names = dict(enumerate(study.manifest.class_names))
        rows.append(counts.assign(seed=spec.seed, of=total[counts["absent"]], absent=counts["absent"].map(names), seen=counts["seen"].map(names)))
    return pd.concat(rows, ignore_index=True)[["seed", "absent", "seen", "taken", "of"]]


def summary(study: Study, by_epoch: pd.DataFrame, calibrated: pd.DataFrame) -> pd.DataFrame:
    """Everything about both checkpoints in one tidy table: columns seed, checkpoint, metric, value.

    Metrics: those of `metrics_by_epoch`, and for each shift its gamma and accuracies, as in `gamma* (oracle): acc_uy`.
    """
    shifted = calibrated.melt(["seed", "checkpoint", "method"], ["gamma", "acc_sy", "acc_uy", "acc_yy", "share"], "metric")
    shifted = shifted[shifted["method"] != NONE]
    shifted["metric"] = shifted["method"] + ": " + shifted["metric"]
    columns = ["seed", "checkpoint", "metric", "value"]
    return pd.concat([checkpoints_only(study, by_epoch)[columns], shifted[columns]], ignore_index=True)
