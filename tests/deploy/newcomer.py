"""What a newcomer has: images, a plain training loop, and checkpoints saved as anyone saves them."""

import math

import torch
from PIL import Image
from torch.nn import functional

from analysis_lib import ClassSplit, cli

ARCH, SIZE, SEEN = "test_resnet", 32, [0, 2, 3, 6, 9]
NAMES = ["ash", "birch", "cedar $ & <b>", "elm", "fir", "gum", "hazel", "ivy", "juniper", "kauri $"]
SPLIT = ClassSplit(10, SEEN)
LOOK = [
    "--image-size",
    str(SIZE),
    "--crop-pct",
    "1",
    "--mean",
    "0.5",
    "0.5",
    "0.5",
    "--std",
    "0.5",
    "0.5",
    "0.5",
    "--device",
    "cpu",
]


def main(arguments):
    """The command line, with arguments of any type."""
    return cli.main([str(argument) for argument in arguments])


def waves(label, n, target, random):
    """n images (n, 3, 32, 32) uint8 of waves whose direction and length are the class; the target domain is inverted,
    tinted and noisy.
    """
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    angle, frequency = math.pi * (label % 5) / 5, 0.5 + 0.5 * (label // 5)
    phase = 2 * math.pi * torch.rand(n, 1, 1, generator=random)
    wave = torch.sin(frequency * (x * math.cos(angle) + y * math.sin(angle)) + phase)[:, None]
    tint = torch.rand(n, 3, 1, 1, generator=random)
    noise = torch.randn(n, 3, 32, 32, generator=random)
    light = torch.randn(n, 3, 1, 1, generator=random)
    picture = (
        0.5 - 0.15 * wave * (1 - tint**2) + 0.15 * light + 0.25 * noise
        if target
        else 0.5 + 0.25 * wave * tint + 0.1 * noise
    )
    return (255 * picture.clamp(0, 1)).byte()


def dataset(classes, n, target, random):
    return torch.cat([waves(label, n, target, random) for label in classes]), torch.tensor(
        list(classes)
    ).repeat_interleave(n)


def prepared(images):
    return (images.float() / 255 - 0.5) / 0.5


def plain_loop(model, images, labels, epochs, rate, random):
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(images), generator=random).split(32):
            optimizer.zero_grad()
            functional.cross_entropy(model(prepared(images[rows])), labels[rows]).backward()
            optimizer.step()


def save_images(folder, images, labels):
    for i, (image, label) in enumerate(zip(images, labels.tolist())):
        place = folder / NAMES[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(place / f"{i:04d}.png")
