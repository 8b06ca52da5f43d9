"""`digits`: from printed to handwritten digits, a benchmark that runs in seconds.

Target domain: scikit-learn's 8x8 handwritten digits. Source domain: digits rendered from matplotlib's fonts, on which
the small starting network is trained.
"""

import hashlib
import math

import matplotlib
import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw, ImageFont

from ..core.errors import UserError
from ..core.seeds import seed_for
from .benchmark import Benchmark, Grid
from .manifest import Manifest, save_manifest

SIZE = 16
FONTS = [
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSans-Oblique.ttf",
    "DejaVuSansMono.ttf",
    "DejaVuSansMono-Bold.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSerif-Bold.ttf",
    "DejaVuSerif-Italic.ttf",
    "STIXGeneral.ttf",
    "STIXGeneralBol.ttf",
    "STIXGeneralItalic.ttf",
    "cmr10.ttf",
    "cmb10.ttf",
    "cmss10.ttf",
    "cmtt10.ttf",
]
PER_FONT = 20  # renderings of each digit in each font, at random sizes, places and slants


def build_images(manifest: Manifest) -> torch.Tensor:
    """Handwritten digits, white on black, enlarged to (N, 3, 16, 16) uint8."""
    from sklearn.datasets import load_digits  # heavy, and only needed here

    raw = load_digits().images.astype(np.uint8)
    rows = raw[manifest.body["path"].astype(int)]
    hashes = [_sha256(row) for row in rows]
    wrong = manifest.body["path"][manifest.body["sha256"] != hashes].tolist()
    if wrong:
        raise UserError(
            f"{len(wrong)} digits of scikit-learn differ from the manifest, first {', '.join(wrong[:3])}; install the "
            "pinned scikit-learn with `make setup`"
        )
    return _enlarge((rows.astype(int) * 255 // 16).astype(np.uint8))


def source_images() -> tuple[torch.Tensor, torch.Tensor]:
    """Printed digits for pre-training: images (N, 3, 16, 16) uint8, white on black, and labels (N,) int64."""
    images, labels, _ = printed("0123456789", "source")
    return images, labels


def printed(characters: str, stream: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`PER_FONT` renderings of each character in each of `FONTS`, drawn from a named random stream.

    Returns images (N, 3, 16, 16) uint8, white on black, labels (N,) int64, the place in `characters`, and fonts (N,)
    int64, the place in `FONTS`.
    """
    folder = matplotlib.get_data_path() + "/fonts/ttf/"
    random = np.random.default_rng(seed_for("digits", stream))
    images, labels, fonts = [], [], []
    for number, font in enumerate(FONTS):
        for label, character in enumerate(characters):
            for _ in range(PER_FONT):
                images.append(_render(character, folder + font, random))
                labels.append(label)
                fonts.append(number)
    return _enlarge(np.stack(images)), torch.tensor(labels), torch.tensor(fonts)


def _enlarge(images: np.ndarray) -> torch.Tensor:
    """From (N, 8, 8) uint8 to three equal channels of twice the size, (N, 3, 16, 16)."""
    large = images.repeat(SIZE // 8, axis=1).repeat(SIZE // 8, axis=2)
    return torch.from_numpy(large)[:, None].expand(-1, 3, -1, -1).contiguous()


def _render(text: str, font: str, random: np.random.Generator) -> np.ndarray:
    """One character, (8, 8), made like the target's: slanted, cropped to its box, reduced to means of 4x4 blocks."""
    canvas = Image.new("L", (160, 160))
    ImageDraw.Draw(canvas).text((80, 80), text, fill=255, anchor="mm", font=ImageFont.truetype(font, 96))
    slant = round(math.tan(math.radians(random.uniform(-15, 15))), 6)  # the last bits of tan differ between processors
    slanted = canvas.transform(canvas.size, Image.Transform.AFFINE, (1, slant, -80 * slant, 0, 1, 0))
    cut = slanted.crop(slanted.getbbox())
    width = min(32, max(6, round(32 * cut.width / cut.height * random.uniform(0.9, 1.3))))
    box = Image.new("L", (32, 32))
    box.paste(cut.resize((width, 32)), ((32 - width) // 2, 0))
    return np.asarray(box.resize((8, 8), Image.Resampling.BOX))


def make_manifest() -> None:
    """Write data_manifests/digits.*. A third of each class is test, drawn by a named seed; each digit is a group."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    body = pd.DataFrame(
        {
            "path": [f"{i:04d}" for i in range(len(bunch.target))],
            "label": bunch.target,
            "split": "train",
            "group": [f"{i:04d}" for i in range(len(bunch.target))],
            "sha256": [_sha256(image) for image in bunch.images.astype(np.uint8)],
        }
    )
    random = np.random.default_rng(seed_for("digits", "split"))
    for _, rows in body.groupby("label"):
        body.loc[random.permutation(rows.index)[: len(rows) // 3], "split"] = "test"
    save_manifest(
        {
            "name": "digits",
            "title": "From printed to handwritten digits",
            "source": "scikit-learn's copy of the UCI optical recognition of handwritten digits test set",
            "builder": "digits",
            "licences": [
                {
                    "name": "Optical Recognition of Handwritten Digits",
                    "author": "E. Alpaydin, C. Kaynak",
                    "licence": "CC-BY-4.0",
                    "package": "scikit-learn",
                    "version": "1.9.1",
                    "integrity": "per-image sha256",
                }
            ],
            "class_names": [str(digit) for digit in range(10)],
            "seen": 0.5,
            "model": "digits_cnn",
            "weights": "source",
            "image_size": SIZE,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "augmentation": {"scale": [0.7, 1.0], "flip": False},
        },
        body,
    )


def _sha256(image: np.ndarray) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


BENCHMARK = Benchmark(
    build_images,
    make_manifest,
    source_images,
    source_recipe={"epochs": 4, "lr": 5e-2},
    recipes={
        "smoke": {"epochs": 4, "lr": 2e-2, "dtype": "float64"},
        "default": {"epochs": 10, "lr": 2e-2},
        "full": {"epochs": 10, "lr": 2e-2},
    },
    grids={
        "smoke": Grid((5e-3, 2e-2), (4,)),
        "default": Grid((5e-3, 2e-2), (10,)),
        "full": Grid((2e-3, 5e-3, 2e-2), (4, 20), development=tuple(range(100, 108))),
    },
    method_options={  # chosen by bench/choose_methods.py; the other methods keep their defaults
        "lp_ft": {"probe": 0.2},
        "l2sp": {"weight": 0.01},
        "ldifs": {"weight": 10.0},
        "feature_distance": {"weight": 0.1},
        "rank": {"weight": 0.1},
        "lolsgd": {"left_out": 0.5},
        "swa": {"start": 0.75},
    },
)
