"""What the first-order pictures cost, in time and memory.

A fine-tuning step to first order is held against plain autograd on the same batches, and a displacement against the
forward pass. The kernel along random directions is held against the other road to it: one reverse pass for every image
and direction, alone, because each image's gradient is needed. Memory should grow with the batch and the parameters, not
with the number of images: it is what the process takes on top of its size before, as Linux counts it.
"""

import ctypes
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from rows import CEILING, PART, Row, compare
from torch.func import vjp
from torch.nn.functional import cross_entropy

from analysis_lib.analysis.influence.gradients import Backbone, backbone_step, predicted_displacement
from analysis_lib.analysis.influence.kernel import random_direction, tangent_features
from analysis_lib.models import backbone
from analysis_lib.models.create import create_model

NETWORKS = {"resnet18": 64, "tf_efficientnet_lite0": 64}  # pixels of their images
N, CLASSES, BATCH, DIRECTIONS, FEW, MIB = 64, 4, 16, 2, 8, 2**20


def rows() -> Iterator[Row]:
    for name, size in NETWORKS.items():
        model = create_model(name, 10).eval().to(memory_format=torch.channels_last)
        images = torch.rand(4 * N, 3, size, size).contiguous(memory_format=torch.channels_last)
        labels = torch.arange(len(images)) % CLASSES
        yield from times(name, model, images[:N], labels[:N])
        yield memory(name, model, images, labels)


def times(name, model, images, labels) -> Iterator[Row]:
    step = backbone_step(model, images, labels, batch_size=BATCH)
    directions = [random_direction(model, torch.Generator().manual_seed(seed)) for seed in range(DIRECTIONS)]

    def autograd():
        for x, y in zip(images.split(BATCH), labels.split(BATCH)):
            cross_entropy(model(x), y).backward()

    @torch.no_grad()
    def forward():
        for x in images.split(BATCH):
            backbone.features_and_logits(model, x)

    @torch.no_grad()
    def reverse_kernel():
        network, probes = Backbone(model), torch.randn(DIRECTIONS, model.get_classifier().in_features)
        for x in images[:FEW].split(1):
            features, pull = vjp(lambda theta, x=x: network.at(theta, x), network.theta)
            for probe in probes:
                sum(part.square().sum() for part in pull(probe.expand_as(features))[0].values())

    stepped = partial(backbone_step, model, images, labels, batch_size=BATCH)
    displaced = partial(predicted_displacement, model, images, step, BATCH)
    tangents = partial(tangent_features, model, images, directions, BATCH)
    yield compare("gradients", f"{name} step: plain autograd", stepped, autograd, 0.7, rounds=3)
    yield compare("gradients", f"{name} displacement: forward pass", displaced, forward, 0.2, CEILING, rounds=3)
    part = FEW / N
    yield compare("gradients", f"{name} kernel: by reverse passes", tangents, reverse_kernel, 2, PART, part, 3)


def memory(name, model, images, labels) -> Row:
    """The memory of a step on four times as many images, beside that on N."""
    many, few = (
        peak(partial(backbone_step, model, images[:n], labels[:n], batch_size=BATCH)) / MIB for n in (4 * N, N)
    )
    return Row("gradients", f"{name} step: memory, {4 * N} and {N} images", many, few, "MiB", few / many, 0.7)


def peak(function) -> int:
    """Bytes that the process grows by while `function` runs."""
    ctypes.CDLL(None).malloc_trim(0)  # hand free memory back, so that using it again counts
    Path("/proc/self/clear_refs").write_text("5")  # start the high-water mark anew
    before = resident("VmRSS")
    function()
    return resident("VmHWM") - before


def resident(field) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])
