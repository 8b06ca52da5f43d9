"""Small pictures of someone's own, made here."""

import io

import numpy as np
from PIL import Image

from analysis_lib import cli

COLOURS = {"ash": (200, 60, 60), "birch": (60, 200, 60), "cedar": (60, 60, 200), "elm": (200, 200, 60)}


def main(*arguments):
    """The command line, with arguments of any type."""
    return cli.main([str(argument) for argument in arguments])


def picture(seed, colour=(128, 128, 128), size=(20, 16)):
    """A noisy picture of one colour, width 20 and height 16 unless told."""
    noise = np.random.default_rng(seed).integers(-40, 40, (size[1], size[0], 3))
    return Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))


def encoded(image, kind="PNG", **options):
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def save(path, image):
    """Save an image below folders that need not exist yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def class_folders(root, images=5, classes=COLOURS, first=0):
    """A folder with a sub-folder for each class and some images in each; no two are the same."""
    for number, (name, colour) in enumerate(COLOURS.items()):
        for i in range(images if name in classes else 0):
            save(root / name / f"{i}.png", picture(first + 100 * number + i, colour))
    return root
