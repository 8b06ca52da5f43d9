"""What the first-order pictures cost: time and peak memory over those of a plain forward pass of the same images.

Time ratios are per image, tangents also per direction. Time should grow with N as the forward pass does; memory should
grow with the batch and the parameters, not with N: it is what the process takes on top of its size before, as Linux
counts it. `reverse kernel` is the other road to the same kernel, along random directions of the features: one reverse
pass for every image and direction, alone, because each image's gradient is needed.

    OMP_NUM_THREADS=1 python bench/gradients.py            # about a minute on 1 core
"""

import ctypes
from pathlib import Path

import pandas as pd
import torch
from timing import best_of
from torch.func import vjp

from analysis_lib.analysis.influence.gradients import Backbone, backbone_step, predicted_displacement
from analysis_lib.analysis.influence.kernel import random_direction, tangent_features
from analysis_lib.models import backbone, create

torch.set_num_threads(1)
CASES = {"digits_cnn": (16, (64, 256, 1024)), "resnet18": (64, (32, 128)), "tf_efficientnet_lite0": (64, (32, 128))}
CLASSES, BATCH, DIRECTIONS, MIB = 4, 16, 2, 2**20


def resident(field):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


def peak(function):
    """Bytes that the process grows by while `function` runs."""
    ctypes.CDLL(None).malloc_trim(0)  # hand free memory back, so that using it again counts
    Path("/proc/self/clear_refs").write_text("5")  # start the high-water mark anew
    before = resident("VmRSS")
    function()
    return resident("VmHWM") - before


def measure(name, size, n):
    model = create.create_model(name, 10).eval().to(memory_format=torch.channels_last)
    images = torch.rand(n, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels, few = torch.arange(n) % CLASSES, images[: n // 8]
    step = backbone_step(model, images, labels, batch_size=BATCH)
    directions = [random_direction(model, torch.Generator().manual_seed(seed)) for seed in range(DIRECTIONS)]

    @torch.no_grad()
    def forward():
        for x in images.split(BATCH):
            backbone.features_and_logits(model, x)

    @torch.no_grad()
    def reverse_kernel():
        backbone, probes = Backbone(model), torch.randn(DIRECTIONS, model.get_classifier().in_features)
        for x in few.split(1):
            features, pull = vjp(lambda theta, x=x: backbone.at(theta, x), backbone.theta)
            for probe in probes:
                sum(part.square().sum() for part in pull(probe.expand_as(features))[0].values())

    calls = {  # each with its number of passes over N images
        "step": (1, lambda: backbone_step(model, images, labels, batch_size=BATCH)),
        "displacement": (1, lambda: predicted_displacement(model, images, step, BATCH)),
        "tangents": (DIRECTIONS, lambda: tangent_features(model, images, directions, BATCH)),
        "reverse kernel": (DIRECTIONS / 8, reverse_kernel),
    }
    plain, base, parameters = best_of(3, forward), peak(forward), sum(value.numel() for value in step.values())
    row = {"model": name, "parameters": parameters, "N": n, "ms/image": 1000 * plain / n}
    row |= {key: best_of(2, call) / passes / plain for key, (passes, call) in calls.items()}
    row |= {"MiB": base / MIB, "parameters ": 4 * parameters / base}
    return row | {f"{key} ": peak(call) / base for key, (_, call) in calls.items()}


table = pd.DataFrame([measure(name, size, n) for name, (size, counts) in CASES.items() for n in counts])
print(
    f"forward pass: ms/image, MiB; the rest are ratios to it, first of time, then of memory. {CLASSES} classes, "
    f"batches of {BATCH}, 1 thread"
)
print(table.to_string(index=False, formatters={"parameters": "{:,}".format}, float_format="{:.1f}".format))
