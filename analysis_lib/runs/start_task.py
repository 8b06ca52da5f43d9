"""The network that begins to learn a task: a backbone that is there already, and a new head."""

import torch
from torch import nn

from ..analysis.metrics.linear_probe import fit_probe
from ..benchmarks.manifest import Head
from ..benchmarks.preprocess import normalizer
from ..benchmarks.tasks import Task
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for
from ..models.backbone import head_name
from ..models.create import create_model
from .outputs import extract


def start_task(
    weights: dict[str, torch.Tensor], task: Task, spec: RunSpec, head: Head, device: torch.device
) -> nn.Module:
    """The network that begins to learn a task: the backbone from `weights`, and a linear probe as its head.

    The probe is fitted on features divided by their mean length, one number that its weights then absorb: the
    network's head takes features as they are, so each cannot be scaled to unit length. Source: Mukhoti et al. 2024,
    whose head takes unit features.
    """
    dtype = getattr(torch, spec.dtype)
    model = create_model(spec.model, task.num_classes).to(dtype)
    own_head = f"{head_name(model)}."
    backbone = {key: tensor for key, tensor in weights.items() if not key.startswith(own_head)}
    model.load_state_dict(model.state_dict() | backbone)
    model.to(device, memory_format=torch.channels_last)
    normalize = normalizer(head.mean, head.std, dtype, device)
    train = extract(model, task.images, task.labels, task.train, normalize)
    length = train.features.double().norm(dim=1).mean()
    generator = generator_for("head", task.name, spec.seed)
    probe = fit_probe(train.features / length, train.labels, task.num_classes, generator)
    linear = model.get_classifier()
    with torch.no_grad():
        linear.weight.copy_(probe.weight / length)
        linear.bias.copy_(probe.bias)
    return model
