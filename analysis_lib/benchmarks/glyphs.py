"""`glyphs`: from print to handwriting, and from print to display type, for the 62 digits and letters.

Source domain: serif, sans and mono families, on which the starting network is trained here. Target domain: handwriting
families (`glyphs`, and `glyphs_vit` for another network) or display families (`glyphs_display`);
`glyphs_families.csv` lists them by domain. The fonts are pinned PyPI packages, an optional extra. A family lies on one
side of the split, with all its weights and renderings.

*Twins*: c and C, o, O and 0, and others have one shape in two sizes. Every character is drawn in one line box, at its
own size and height over the baseline, so twins differ as they do in a line of text; they stay 62 classes. In a family
whose lower case is drawn as capitals no size tells them apart, so its lower-case images are left out.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw

from ..core import paths
from ..core.errors import UserError
from ..core.progress import progress
from ..core.seeds import seed_for
from .benchmark import Benchmark, Grid
from .manifest import COLUMNS, SOURCE, Licence, Manifest, save_manifest

SIZE, SCALE = 32, 4  # pixels of an image; it is drawn SCALE times as large
CAPITAL, BASELINE = 0.6, 0.74  # height of an H, and place of the baseline, in parts of the image
CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
WEIGHTS = (400, 700)  # regular and bold, where a family has both
PRINT = ("serif", "sans", "mono")  # the domains of the source
RENDERINGS = {SOURCE: 2, "handwriting": 8, "display": 5}  # of each character in each weight of a family
TEST_SHARE = 1 / 3  # of the target's families
LIKE_CAPITALS = 0.9  # mean correlation of lower-case and capital shapes above which a family has no lower case
UNLIKE = "abdeghqrt"  # letters whose two cases differ in any family that has both


def build_images(manifest: Manifest) -> torch.Tensor:
    """Render every row, (N, 3, 32, 32) uint8, white on black.

    Raises UserError if a font package is missing or is not the pinned one.
    """
    check_fonts(manifest.head.licences)
    images = torch.empty(len(manifest.body), 3, SIZE, SIZE, dtype=torch.uint8)
    for image, path in zip(images, progress(manifest.body["path"].tolist(), "rendering")):
        image[:] = torch.tensor(render(path))
    return images


def check_fonts(licences: Sequence[Licence]) -> None:
    """Raise UserError for fonts that are not installed or are not the pinned ones."""
    for licence in licences:
        slug = licence.package.removeprefix("fontpkg-")
        if font_digest(slug) != licence.integrity:
            raise UserError(
                f"the fonts of {licence.package} are not those of version {licence.version}; run `pip install "
                f"{licence.package}=={licence.version}`"
            )


def font_family(slug: str):
    """An installed family. Raises UserError if its package is missing."""
    try:
        import fontpkg  # an optional extra

        return fontpkg.family(slug)
    except (ImportError, LookupError) as error:
        raise UserError(
            f"the font package fontpkg-{slug} is not installed ({type(error).__name__}); run "
            "`pip install --constraint constraints.txt --editable '.[glyphs]'`"
        ) from None


def font_digest(slug: str) -> str:
    """The sha256 of all upright font files of a family, one after another."""
    digest = hashlib.sha256()
    for font in sorted(font_family(slug).files, key=lambda font: font.path.name):
        digest.update(font.path.read_bytes())
    return digest.hexdigest()


def weights(slug: str) -> list[int]:
    """The weights of a family that are drawn: regular and bold, or the one nearest to regular."""
    family = font_family(slug)
    if family.is_variable:
        low, high = family.weight_range
        return [weight for weight in WEIGHTS if low <= weight <= high] or [low]
    upright = sorted({font.weight for font in family.files if font.style == "normal"})
    return [weight for weight in WEIGHTS if weight in upright] or upright[:1]


def render(path: str) -> np.ndarray:
    """The character of a row, (32, 32) uint8, with a size, a slant, a turn and a place drawn from the row's path."""
    slug, weight, name = path.split("/")
    character = CHARACTERS[int(name.split("-")[0])]
    random = np.random.default_rng(seed_for("glyphs", path))
    size, slant, turn = random.uniform(0.85, 1.1), random.uniform(-0.15, 0.15), random.uniform(-0.08, 0.08)
    right, down = random.uniform(-0.04, 0.04, 2)
    side = SIZE * SCALE
    shape = draw_character(slug, int(weight), character, round(size * CAPITAL * side))
    middle = (0.5 + right) * side, (BASELINE + down) * side
    # from the image to the drawing, on a grid far coarser than what processors differ by
    cos, sin = round(math.cos(turn), 6), round(math.sin(turn), 6)
    a, b, d, e = cos + slant * sin, slant * cos - sin, sin, cos
    centre, baseline = shape.width / 2, shape.height / 2
    shift = (centre - a * middle[0] - b * middle[1], baseline - d * middle[0] - e * middle[1])
    placed = shape.transform((side, side), Image.Transform.AFFINE, (a, b, shift[0], d, e, shift[1]))
    return np.asarray(placed.resize((SIZE, SIZE), Image.Resampling.BOX))


def draw_character(slug: str, weight: int, character: str, capital: int) -> Image.Image:
    """A character on a square whose middle is the middle of its width, on the baseline; an H is `capital` pixels high.

    Characters that are wider than the image is are drawn smaller.
    """
    from fontpkg.pil import truetype

    def font_of(size: float):
        return truetype(slug, size, weight=weight, nearest=True)

    side = 4 * SIZE * SCALE
    font = font_of(200)
    _, top, _, bottom = font.getbbox("H", anchor="ls")
    size = 200 * capital / (bottom - top)
    left, top, right, bottom = font.getbbox(character, anchor="ls")
    room = 0.92 * SIZE * SCALE
    font = font_of(min(size, 200 * room / (right - left), 200 * room / (bottom - top)))
    left, top, right, bottom = font.getbbox(character, anchor="ls")
    canvas = Image.new("L", (side, side))
    origin = side / 2 - (left + right) / 2, side / 2
    ImageDraw.Draw(canvas).text(origin, character, fill=255, anchor="ls", font=font)
    return canvas


def lower_case_is_capitals(slug: str) -> bool:
    """Whether a family draws its lower case as capitals, large or small."""
    weight = weights(slug)[0]
    alike = [
        np.corrcoef(_shape(slug, weight, letter).ravel(), _shape(slug, weight, letter.upper()).ravel())[0, 1]
        for letter in UNLIKE
    ]
    return float(np.mean(alike)) > LIKE_CAPITALS


def _shape(slug: str, weight: int, character: str) -> np.ndarray:
    """A character cropped to its ink and stretched to (32, 32), float."""
    drawn = draw_character(slug, weight, character, SIZE * SCALE // 2)
    return np.asarray(drawn.crop(drawn.getbbox()).resize((32, 32), Image.Resampling.BOX), dtype=float)


def make_manifest(name: str, title: str, domain: str, **head) -> None:
    """Write data_manifests/<name>.*: print families as source, those of `domain` as train and test.

    head : the fields that differ between our manifests.
    """
    families = pd.read_csv(paths.glyphs_families()).groupby("domain", sort=False)["family"].apply(list)
    target = sorted(families[domain], key=lambda slug: seed_for("glyphs", "split", slug))
    n_test = round(TEST_SHARE * len(target))
    sides = {slug: SOURCE for printed in PRINT for slug in families[printed]}
    sides |= {slug: "test" if place < n_test else "train" for place, slug in enumerate(target)}
    rows = []
    for slug, side in sides.items():
        lacks_lower_case = lower_case_is_capitals(slug)
        for weight in weights(slug):
            for label, character in enumerate(CHARACTERS):
                if not (lacks_lower_case and character.islower()):
                    for number in range(RENDERINGS[SOURCE if side == SOURCE else domain]):
                        rows.append((f"{slug}/{weight}/{label}-{number}", label, side, slug, ""))
    fixed = {
        "name": name,
        "title": title,
        "source": "font families as packaged by fontpkg; the hashes of the fonts stand with their licences",
        "builder": "glyphs",
        "licences": [_licence(slug) for slug in sides],
        "class_names": list(CHARACTERS),
        "seen": 0.5,
        "weights": SOURCE,
        "image_size": SIZE,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "augmentation": {"scale": [0.8, 1.0], "flip": False},
    }
    save_manifest(fixed | head, pd.DataFrame(rows, columns=COLUMNS))


def _licence(slug: str) -> dict:
    family, package = font_family(slug), f"fontpkg-{slug}"
    stated = json.loads(files(package.replace("-", "_")).joinpath("metadata.json").read_text(encoding="utf-8"))
    return {
        "name": family.name,
        "author": stated["copyright"],
        "licence": family.license,
        "package": package,
        "version": version(package),
        "integrity": font_digest(slug),
    }


def handwriting() -> None:
    """Write the manifest of `glyphs`."""
    make_manifest("glyphs", "From print to handwriting", "handwriting", model="glyphs_resnet")


def handwriting_vit() -> None:
    """Write the manifest of `glyphs_vit`: the images of `glyphs` for a transformer."""
    title = "From print to handwriting, with a transformer"
    make_manifest("glyphs_vit", title, "handwriting", model="glyphs_vit", rows="glyphs")


def display() -> None:
    """Write the manifest of `glyphs_display`."""
    make_manifest("glyphs_display", "From print to display type", "display", model="glyphs_resnet")


RESNET_SOURCE = {"epochs": 15, "lr": 5e-2, "batch_size": 64}
VIT_SOURCE = {"epochs": 30, "lr": 1e-3, "batch_size": 64, "optimizer": "adamw", "weight_decay": 5e-2}
# chosen by bench/choose_recipe.py for both networks of `glyphs`, and taken over for `glyphs_display`
RECIPES = {"smoke": {"epochs": 1, "lr": 2e-2}, "default": {"epochs": 5, "lr": 2e-2}, "full": {"epochs": 5, "lr": 2e-2}}
GRIDS = {"smoke": Grid((2e-2,), (1,)), "default": Grid((5e-3, 2e-2), (5,)), "full": Grid((2e-3, 5e-3, 2e-2), (5, 10))}
PETL_RECIPE = {"optimizer": "adamw", "warmup": 0.1}
PETL_RATES = {  # chosen by bench/choose_petl_rates.py
    **dict.fromkeys(("finetune", "selected", "pfeiffer_random", "repadapter", "vpt_deep"), 1e-3),
    **dict.fromkeys(("linear_probe", "bitfit_head", "normalisation", "difffit", "ssf", "vpt_shallow"), 3e-3),
    **dict.fromkeys(("lora", "houlsby", "pfeiffer", "adaptformer", "convpass", "fact_tt", "fact_tk"), 3e-3),
    **dict.fromkeys(("vqt", "head2toe", "vqt_select"), 1e-2),
}

BENCHMARK = Benchmark(build_images, handwriting, source_recipe=RESNET_SOURCE, recipes=RECIPES, grids=GRIDS)
VIT = Benchmark(
    build_images,
    handwriting_vit,
    source_recipe=VIT_SOURCE,
    recipes=RECIPES,
    grids=GRIDS,
    petl_recipe=PETL_RECIPE,
    petl_rates=PETL_RATES,
)
TO_DISPLAY = Benchmark(build_images, display, source_recipe=RESNET_SOURCE, recipes=RECIPES, grids=GRIDS)
