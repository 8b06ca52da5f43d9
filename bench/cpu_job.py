"""A training step of the suite's path and its variants; run as a program, the speed of a process that trains.

Prints JSON: images per second of the clock, `per_second`, and of the processor, `per_cpu_second`.
"""

import copy
import json
import time

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from analysis_lib.benchmarks.preprocess import normalizer
from analysis_lib.core.device import deterministic, reuse_memory
from analysis_lib.core.seeds import generator_for
from analysis_lib.models.backbone import backbone_in_bfloat16
from analysis_lib.models.create import create_model
from analysis_lib.training.augmentation import augment

BATCH, STEPS = 32, 6
NETWORKS = {"tf_efficientnet_lite0": (128, 231), "glyphs_resnet": (32, 62), "glyphs_vit": (32, 62)}  # pixels, classes


def random_images(name: str, n: int) -> torch.Tensor:
    """uint8 images (n, 3, H, W)."""
    size = NETWORKS[name][0]
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator_for("bench", name))


class TrainingStep:
    """One step of SGD on random images, loading and augmentation included; `loss` is that of the last batch."""

    def __init__(self, name: str, autocast: bool = False, layout=torch.channels_last, **merged: bool):
        torch.manual_seed(0)
        self.model = create_model(name, NETWORKS[name][1]).to(memory_format=layout)
        if autocast:
            backbone_in_bfloat16(self.model)
        self.images, self.layout, self.generator = random_images(name, BATCH), layout, generator_for("bench steps")
        self.labels = torch.arange(BATCH) % NETWORKS[name][1]
        self.normalize = normalizer([0.5] * 3, [0.25] * 3, torch.float32, torch.device("cpu"))
        settings = {"lr": 5e-3, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}
        self.optimizer = torch.optim.SGD(self.model.parameters(), **settings, **(merged or {"foreach": False}))
        self.loss = float("nan")

    def __call__(self) -> None:
        self.model.train()
        rows = torch.randperm(BATCH, generator=self.generator)
        x = augment(self.normalize(self.images[rows]), (0.5, 1.0), True, self.generator)
        loss = functional.cross_entropy(self.model(x.contiguous(memory_format=self.layout)), self.labels[rows])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.loss = loss.item()


def folded(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """A copy of a model in eval mode, with every BatchNorm that follows a convolution folded into it.

    x : a batch that shows which layer follows which. Activations inside timm's BatchNorm layers stay.
    """
    model = copy.deepcopy(model)
    names = {module: name for name, module in model.named_modules()}
    made, pairs = [], []  # outputs of convolutions, kept so that each stays one object

    def after(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            made.append((layer, output))
        else:
            pairs.extend((conv, layer) for conv, tensor in made if tensor is inputs[0])

    layers = [module for module in names if isinstance(module, (nn.Conv2d, nn.BatchNorm2d))]
    hooks = [layer.register_forward_hook(after) for layer in layers]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    for conv, norm in pairs:
        model.set_submodule(names[conv], fuse_conv_bn_eval(conv, norm))
        model.set_submodule(names[norm], getattr(norm, "act", nn.Identity()))
    return model


if __name__ == "__main__":
    deterministic()
    reuse_memory()
    step = TrainingStep("tf_efficientnet_lite0")
    step(), step()
    clock, processor = time.perf_counter(), time.process_time()
    for _ in range(STEPS):
        step()
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    count = STEPS * BATCH
    print(json.dumps({"per_second": count / clock, "per_cpu_second": count / processor}))
