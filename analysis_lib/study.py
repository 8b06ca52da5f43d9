"""A study: the fine-tuning runs of one benchmark and profile over seeds, and what they measure as tidy tables.

Every table has one row per seed and thing measured; `tables` averages over seeds. Test samples are scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from . import paths, runs, store
from .analysis import decomposition
from .analysis.accuracy import accuracies
from .analysis.calibration import SeenAbsentCurve, average_logit_gap, seen_absent_curve
from .analysis.ncm import class_means, ncm_scores
from .data.images import load_images
from .data.manifest import Manifest, load_manifest
from .outputs import Outputs, PreparedImages, load_outputs, normalizer
from .spec import RunSpec
from .split import ClassSplit

PRE_TRAINED, FINE_TUNED = "pre-trained", "fine-tuned"


@dataclass(frozen=True)
class Study:
    """The finished runs and their manifest; made by `open_study`."""

    manifest: Manifest
    specs: tuple[RunSpec, ...]
    device: str = ""

    @property
    def benchmark(self) -> str:
        return self.manifest.name

    def split(self, spec: RunSpec) -> ClassSplit:
        return self.manifest.class_split(spec.seed, spec.seen)

    def checkpoints(self, spec: RunSpec) -> dict[str, int]:
        return {PRE_TRAINED: 0, FINE_TUNED: spec.epochs}

    def epochs(self, spec: RunSpec) -> list[int]:
        """The epochs whose Outputs are stored."""
        return [epoch for epoch in range(spec.epochs + 1) if epoch % spec.record_every == 0 or epoch == spec.epochs]

    def outputs(self, spec: RunSpec, epoch: int, part: str) -> Outputs:
        """Outputs on `train` or `test` (all classes) after an epoch; epoch 0 is the pre-trained model."""
        return load_outputs(paths.run_outputs(spec.run_id, epoch, part))

    def head(self, spec: RunSpec, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight (C, D) and bias (C,) of the linear head after an epoch."""
        tensors = store.read_tensors(paths.run_head(spec.run_id, epoch))
        return tensors["weight"], tensors["bias"]

    def prepared(self, spec: RunSpec, index: torch.Tensor, device: torch.device) -> PreparedImages:
        """Images by their rows in the manifest, in the run's float type and without augmentation."""
        head = self.manifest.head
        return PreparedImages(load_images(self.manifest), index, normalizer(head.mean, head.std, getattr(torch, spec.dtype), device))

    def units(self, outputs: Outputs) -> torch.Tensor:
        """(N,) int64: samples of one group of the manifest, such as variants of a drawing, share a number; they are no
        independent samples."""
        return torch.tensor(pd.factorize(self.manifest.body["group"].iloc[outputs.index.numpy()])[0])

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
    return Study(load_manifest(benchmark), tuple(specs), device)


def metrics_by_epoch(study: Study) -> pd.DataFrame:
    """Everything that is one number per checkpoint: columns seed, epoch, metric, value, samples.

    Metrics: the five head accuracies; `ncm_` the same with class means from all classes' training images (*oracle*
    features probe); `p_absent_*`, `p_within_*`, `confusion_*`, `wrong_within_*`, `wrong_group_*` of the softmax
    decomposition; `ausuc`; `alg`, gamma from the fine-tuning data.
    """
    rows = []
    for spec in study.specs:
        split = study.split(spec)
        for epoch in study.epochs(spec):
            test, train = study.outputs(spec, epoch, "test"), study.outputs(spec, epoch, "train")
            fine_tuning = train.where(split.is_seen(train.labels))
            means = class_means(train.features, train.labels, split.num_classes)
            probe = accuracies(ncm_scores(test.features, means), test.labels, split)
            n_seen = int(split.is_seen(test.labels).sum())
            n = {"s": n_seen, "u": len(test.labels) - n_seen, "y": len(test.labels)}
            by_group = accuracies(test.logits, test.labels, split) | {f"ncm_{key}": value for key, value in probe.items()}
            measured = (
                [(metric, value, n[metric[-2]]) for metric, value in by_group.items()]
                + [(metric, value, n[metric[-1]]) for metric, value in decomposition.softmax_decomposition(test.logits, test.labels, split).summary().items()]
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


def thieves(study: Study) -> pd.DataFrame:
    """Which seen classes take the absent samples after fine-tuning: columns seed, absent, seen, taken, of.

    A row counts test samples of one absent class that are predicted as one seen class, `of` all of that absent class.
    """
    names, rows = study.manifest.class_names, []
    for spec in study.specs:
        test = study.outputs(spec, spec.epochs, "test")
        total = test.labels.bincount(minlength=len(names)).tolist()
        rows += [(spec.seed, names[absent], names[seen], taken, total[absent])
                 for absent, seen, taken in decomposition.thieves(test.logits, test.labels, study.split(spec)).tolist()]
    return pd.DataFrame(rows, columns=["seed", "absent", "seen", "taken", "of"])
