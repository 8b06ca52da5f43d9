"""What gradients of the pre-trained network say about images, computed on first use and cached.

All is measured in eval mode and without augmentation. The first step takes the whole fine-tuning set as one batch.
"""

import torch

from ..analysis.influence import gradients
from ..analysis.influence.gradients import Step
from ..analysis.influence.kernel import random_direction, tangent_features
from ..core import files, paths
from ..core.device import pick_device
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for
from ..runs.execute import load_before_after
from ..runs.run_set import RunSet

DIRECTIONS = 3  # random directions in parameter space for the kernel


def first_step(runs: RunSet, spec: RunSpec) -> Step:
    """The first fine-tuning step of the backbone for learning rate 1: one tensor for each parameter."""

    def derive() -> Step:
        before, _ = load_before_after(spec, runs.device)
        own = runs.fine_tuning_outputs(spec, 0)
        tuning = runs.prepared(spec, own.index, next(before.parameters()).device)
        return gradients.backbone_step(before, tuning, own.labels)

    step = files.cached(paths.run_step(spec.run_id), derive)
    return {name: part.to(pick_device(runs.device)) for name, part in step.items()}


def displacement(runs: RunSet, spec: RunSpec) -> torch.Tensor:
    """The displacement of the features of every test image by `first_step`, to first order: (N, D) on the CPU."""

    def derive() -> dict[str, torch.Tensor]:
        before, _ = load_before_after(spec, runs.device)
        test = runs.outputs(spec, 0, "test")
        images = runs.prepared(spec, test.index, next(before.parameters()).device)
        return {"test": gradients.predicted_displacement(before, images, first_step(runs, spec))}

    return files.cached(paths.run_displacement(spec.run_id), derive)["test"]


def tangents(runs: RunSet, spec: RunSpec) -> torch.Tensor:
    """`tangent_features` of every image of the benchmark, by its row in the manifest: (DIRECTIONS, rows, D).

    They depend on the pre-trained backbone alone, which the runs of a benchmark share, and are computed once for all.
    Whoever reads them must take only the rows that the question allows.
    """

    def derive() -> dict[str, torch.Tensor]:
        before, _ = load_before_after(spec, runs.device)
        rows = torch.arange(len(runs.manifest.labels))
        images = runs.prepared(spec, rows, next(before.parameters()).device)
        streams = [generator_for("kernel direction", spec.init, number) for number in range(DIRECTIONS)]
        directions = [random_direction(before, stream) for stream in streams]
        return {"tangents": tangent_features(before, images, directions)}

    return files.cached(paths.tangents(spec.init, spec.data, spec.dtype, DIRECTIONS), derive)["tangents"]
