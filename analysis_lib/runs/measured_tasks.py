"""What the networks before and after a run predict on tasks, and how far apart they are: computed once and cached."""

from functools import cached_property

import torch
from torch import nn

from ..analysis.metrics.linear_probe import fit_probe
from ..analysis.metrics.ncm import class_means, ncm_scores
from ..benchmarks.manifest import Head
from ..benchmarks.preprocess import normalizer
from ..benchmarks.tasks import Task
from ..core import files, paths
from ..core.device import pick_device
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for
from ..methods.feature_distance import stage_distance
from ..models.stages import stages_and_logits
from ..models.weight_space import parameter_distance
from .execute import load_before_after
from .outputs import extract

DISTANCE_IMAGES = 200  # test images of a task on which the features of two networks are compared, about


class MeasuredRun:
    """The networks before and after a finished run. They are loaded when something about them is not cached yet."""

    def __init__(self, spec: RunSpec, head: Head, device: str):
        self.spec, self.device = spec, pick_device(device)
        self.normalize = normalizer(head.mean, head.std, getattr(torch, spec.dtype), self.device)

    @cached_property
    def _networks(self) -> tuple[nn.Module, nn.Module]:
        return load_before_after(self.spec, str(self.device))

    def predictions(self, network: str, task: Task) -> dict[str, torch.Tensor]:
        """`task_predictions` of the network that the run starts from, named `spec.init`, or of the run, `spec.run_id`.

        Raises UserError for a run that is not finished.
        """
        after = network == self.spec.run_id
        path = paths.task_predictions(network, self.spec.data, self.spec.dtype, self.device.type, task.name)
        return files.cached(path, lambda: task_predictions(self._networks[after], task, self.normalize))

    def distances(self, task: Task) -> dict[str, float]:
        """How far the run moved its network: `feature`, as `task_distance`; `parameter`, as `parameter_distance`."""
        found = files.cached(paths.run_task_distance(self.spec.run_id, task.name), lambda: self._distances(task))
        return {name: value.item() for name, value in found.items()}

    def _distances(self, task: Task) -> dict[str, torch.Tensor]:
        found = {
            "feature": task_distance(*self._networks, task, self.normalize),
            "parameter": parameter_distance(*self._networks),
        }
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in found.items()}


def task_predictions(model: nn.Module, task: Task, normalize) -> dict[str, torch.Tensor]:
    """The class predicted for each of n test images of a task from the network's features, (n,) int64.

    `lp`: by a linear probe on unit features, `ncm`: by the nearest class mean, both fitted on the task's training
    images. normalize : from uint8 images to the model's input.
    """
    train = extract(model, task.images, task.labels, task.train, normalize)
    test = extract(model, task.images, task.labels, task.test, normalize)
    unit, unit_test = (nn.functional.normalize(part.features.double(), dim=1) for part in (train, test))
    probe = fit_probe(unit, train.labels, task.num_classes, generator_for("linear probe", task.name))
    means = class_means(unit, train.labels, task.num_classes)
    return {"lp": probe.scores(unit_test).argmax(1), "ncm": ncm_scores(unit_test, means).argmax(1)}


@torch.inference_mode()
def task_distance(before: nn.Module, after: nn.Module, task: Task, normalize) -> float:
    """The LDIFS distance of two networks in eval mode, on about `DISTANCE_IMAGES` test images of a task.

    normalize : from uint8 images to the models' input.
    """
    before.eval()
    after.eval()
    rows = task.test[:: max(1, len(task.test) // DISTANCE_IMAGES)]
    total = 0.0
    for part in rows.split(50):
        x = normalize(task.images[part])
        stages, starts = stages_and_logits(after, x)[0], stages_and_logits(before, x)[0]
        total += len(part) * stage_distance(stages, starts).item()
    return total / len(rows)
