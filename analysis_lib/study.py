"""A study: the fine-tuning runs of one benchmark and profile over seeds, and what they show as tidy tables.

Every table has one row per seed and thing measured; `tables` averages over seeds. Test samples are scored; where
absent-class labels enter a choice, the row says *oracle*.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from . import paths, runs, runtime, tables
from .analysis.accuracy import accuracies, best_in
from .analysis.calibration import SeenAbsentCurve, average_logit_gap, seen_absent_curve
from .analysis.decomposition import softmax_decomposition
from .analysis.ncm import class_means, ncm_scores
from .data.images import load_images
from .data.manifest import Manifest, load_manifest
from .outputs import Outputs, load_outputs
from .spec import RunSpec
from .split import ClassSplit

PRE_TRAINED, FINE_TUNED = "pre-trained", "fine-tuned"


@dataclass(frozen=True)
class Study:
    """The finished runs and their manifest; made by `open_study`."""

    manifest: Manifest
    specs: tuple[RunSpec, ...]

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


def open_study(benchmark: str, profile: str, seeds: Sequence[int], device: str = "") -> Study:
    """Make the runs that are missing and open them all. Raises UserError as planning and executing do."""
    specs = runs.plan(benchmark, profile, seeds)
    for spec in specs:
        runs.execute(spec, device)
    return Study(load_manifest(benchmark), tuple(specs))


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


def calibrations(study: Study) -> pd.DataFrame:
    """Shifts and what they give: columns seed, checkpoint, method, gamma, acc_sy, acc_uy, acc_yy.

    Methods: `none`; `ALG`, from the fine-tuning data; `gamma* (oracle)`, the best on the test labels themselves.
    """
    rows = []
    for spec in study.specs:
        for checkpoint, epoch in study.checkpoints(spec).items():
            curve, data = study.curve(spec, epoch), study.fine_tuning_outputs(spec, epoch)
            points = {
                "none": curve.at(0.0),
                "ALG": curve.at(average_logit_gap(data.logits, data.labels, study.split(spec))),
                "gamma* (oracle)": curve.best(),
            }
            rows += [{"seed": spec.seed, "checkpoint": checkpoint, "method": method, **vars(point)} for method, point in points.items()]
    return pd.DataFrame(rows)


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


def against_pretrained(calibrated: pd.DataFrame) -> pd.DataFrame:
    """The fine-tuned model under each shift minus the pre-trained model without one, from `calibrations`.

    Columns as in `tables.change`, by method and metric (acc_sy, acc_uy, acc_yy).
    """
    long = calibrated.melt(["seed", "checkpoint", "method"], ["acc_sy", "acc_uy", "acc_yy"], "metric")
    start = long[(long["checkpoint"] == PRE_TRAINED) & (long["method"] == "none")]
    frames = []
    for method, rows in long[long["checkpoint"] == FINE_TUNED].groupby("method", sort=False):
        pair = pd.concat([start, rows.assign(method=method)])
        frames.append(tables.change(pair, PRE_TRAINED, FINE_TUNED, "checkpoint", ["metric"]).assign(method=method))
    return pd.concat(frames, ignore_index=True)


def summary(study: Study, by_epoch: pd.DataFrame, calibrated: pd.DataFrame) -> pd.DataFrame:
    """Everything about both checkpoints in one tidy table: columns seed, checkpoint, metric, value.

    Metrics: those of `metrics_by_epoch`, and for each shift its gamma and accuracies, as in `gamma* (oracle): acc_uy`.
    """
    shifted = calibrated.melt(["seed", "checkpoint", "method"], ["gamma", "acc_sy", "acc_uy", "acc_yy"], "metric")
    shifted = shifted[shifted["method"] != "none"]
    shifted["metric"] = shifted["method"] + ": " + shifted["metric"]
    columns = ["seed", "checkpoint", "metric", "value"]
    return pd.concat([checkpoints_only(study, by_epoch)[columns], shifted[columns]], ignore_index=True)
