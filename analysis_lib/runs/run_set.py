"""Finished fine-tuning runs of one benchmark over seeds, opened for reading."""

from dataclasses import dataclass, replace

import pandas as pd
import torch

from ..analysis.gamma.curve import SeenAbsentCurve, seen_absent_curve
from ..benchmarks.images import load_images
from ..benchmarks.manifest import Manifest
from ..benchmarks.preprocess import PreparedImages, normalizer
from ..core import files, paths
from ..core.class_split import ClassSplit
from ..core.run_spec import RunSpec
from .execute import check_finished
from .outputs import Outputs, load_outputs

PRE_TRAINED, BATCHNORM_ONLY, FINE_TUNED = "pre-trained", "BatchNorm only", "fine-tuned"


def batchnorm_only(spec: RunSpec) -> RunSpec:
    """The control of a run: the same training with learning rate 0.

    No weight moves; BatchNorm's running statistics adapt to the fine-tuning images as they do in the run. A network
    without BatchNorm stays as it is.
    """
    return replace(spec, lr=0.0, record_every=spec.epochs)


@dataclass(frozen=True)
class RunSet:
    """Finished runs and their manifest, as `open_study` returns them. Reading never trains."""

    manifest: Manifest
    specs: tuple[RunSpec, ...]
    device: str = ""

    @property
    def benchmark(self) -> str:
        return self.manifest.name

    def split(self, spec: RunSpec) -> ClassSplit:
        """The seen and absent classes of a run."""
        return self.manifest.class_split(spec.seed, spec.seen)

    def checkpoints(self, spec: RunSpec) -> dict[str, tuple[RunSpec, int]]:
        """The networks that a study compares, by name: the run and the epoch of each, for `outputs` and `head`."""
        return {
            PRE_TRAINED: (spec, 0),
            BATCHNORM_ONLY: (batchnorm_only(spec), spec.epochs),
            FINE_TUNED: (spec, spec.epochs),
        }

    def epochs(self, spec: RunSpec) -> list[int]:
        """The epochs whose Outputs are stored."""
        return [epoch for epoch in range(spec.epochs + 1) if epoch % spec.record_every == 0 or epoch == spec.epochs]

    def outputs(self, spec: RunSpec, epoch: int, part: str) -> Outputs:
        """Outputs on `train` or `test` (all classes) after an epoch; epoch 0 is the pre-trained model.

        Raises UserError for a run that is not finished: reading never trains.
        """
        check_finished(spec)
        return load_outputs(paths.run_outputs(spec.run_id, epoch, part))

    def head(self, spec: RunSpec, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight (C, D) and bias (C,) of the head after an epoch.

        Of a cosine head, the rows as they are trained, with their lengths, and zeros.
        """
        tensors = files.read_tensors(paths.run_head(spec.run_id, epoch))
        return tensors["weight"], tensors["bias"]

    def prepared(self, spec: RunSpec, index: torch.Tensor, device: torch.device) -> PreparedImages:
        """Images by their rows in the manifest, in the run's float type and without augmentation."""
        head = self.manifest.head
        normalize = normalizer(head.mean, head.std, getattr(torch, spec.dtype), device)
        return PreparedImages(load_images(self.manifest), index, normalize)

    def clusters(self, outputs: Outputs) -> torch.Tensor:
        """The cluster of each sample, (N,) int64: samples of one group of the manifest share a number.

        Samples of one cluster, such as variants of a drawing, are not independent.
        """
        groups = self.manifest.body["group"].iloc[outputs.index.numpy()]
        return torch.tensor(pd.factorize(groups)[0])

    def curve(self, spec: RunSpec, epoch: int) -> SeenAbsentCurve:
        """The seen-absent curve of the test samples."""
        test = self.outputs(spec, epoch, "test")
        return seen_absent_curve(test.logits, test.labels, self.split(spec))

    def fine_tuning_outputs(self, spec: RunSpec, epoch: int) -> Outputs:
        """Outputs on the fine-tuning data: training images of seen classes only."""
        train = self.outputs(spec, epoch, "train")
        return train.where(self.split(spec).is_seen(train.labels))
