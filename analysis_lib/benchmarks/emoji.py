"""`emoji`: open emoji sets as a target domain for ImageNet-1k classes.

`emoji_classes.csv` maps icon names to ImageNet classes. Every pair was checked by eye on contact sheets; rejected pairs
are listed there with the reason. Sets that share drawings form one family.
"""

import hashlib
import io
from itertools import combinations

import numpy as np
import pandas as pd
import resvg_py
import torch
from PIL import Image
from torch.nn import functional

from ..core import paths
from ..core.errors import UserError
from ..core.packages import npm_json
from ..core.progress import progress
from ..core.seeds import seed_for
from .benchmark import Benchmark, Grid
from .manifest import COLUMNS, Head, Licence, Manifest, save_manifest

SIZE = 128
FAMILIES = {
    "noto": "noto",
    "noto-v1": "noto",
    "twemoji": "twemoji",
    "openmoji": "openmoji",
    "fxemoji": "fxemoji",
    "emojione": "emojione",
    "emojione-v1": "emojione",
    "emojione-monotone": "emojione",
    "fluent-emoji": "fluent",
    "fluent-emoji-flat": "fluent",
    "fluent-emoji-high-contrast": "fluent",
    "streamline-emojis": "streamline",
}
MIN_IMAGES = 6  # a class with fewer is dropped
TEST_SHARE = 1 / 3
SAME_IN_SET = 0.995  # correlation above which two icons of one set count as one drawing; only the first is kept
SAME_DRAWING = 0.92  # correlation above which drawings of two families count as one group


def build_images(manifest: Manifest) -> torch.Tensor:
    """Render every row on white, (N, 3, 128, 128) uint8.

    Raises UserError if a package cannot be downloaded or an icon differs from the manifest.
    """
    sets = load_sets(manifest.head.licences)
    images = torch.empty(len(manifest.body), 3, SIZE, SIZE, dtype=torch.uint8)
    wrong = []
    for i, row in enumerate(progress(manifest.body.itertuples(), "rendering")):
        icon_set, icon = row.path.split("/")
        svg = icon_svg(sets[icon_set], icon)
        if svg is None or _sha256(svg) != row.sha256:
            wrong.append(row.path)
        else:
            images[i] = render(svg, SIZE)
    if wrong:
        raise UserError(
            f"{len(wrong)} icons differ from the manifest, first {', '.join(wrong[:3])}; restore "
            f"data_manifests/{manifest.name}.* with git, or rebuild them with `python -m analysis_lib manifest "
            f"{manifest.name}`"
        )
    return images


def load_sets(licences: list[Licence]) -> dict[str, dict]:
    """The icon sets by name, in the order of their licences, from their pinned packages."""
    sets = {}
    for licence in licences:
        name = licence.package.removeprefix("@iconify-json/")
        sets[name] = npm_json(licence.package, licence.version, licence.integrity, "icons.json")
    return sets


def icon_svg(data: dict, icon: str) -> str | None:
    """The SVG of an icon of a set, by its own name or an alias; None when the set has no such icon."""
    while icon in data.get("aliases", {}):
        icon = data["aliases"][icon]["parent"]
    if icon not in data["icons"]:
        return None
    item = data["icons"][icon]
    left, top = item.get("left", 0), item.get("top", 0)
    width, height = item.get("width", data.get("width", 16)), item.get("height", data.get("height", 16))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" color="#000" '
        f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{item["body"]}</svg>'
    )


def render(svg: str, size: int) -> torch.Tensor:
    """An SVG on white, (3, size, size) uint8."""
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, background="white", skip_system_fonts=True)
    picture = Image.open(io.BytesIO(bytes(png))).convert("RGB").resize((size, size))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def similarity(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Correlation (N, M) of small grey versions of two sets of images, the larger of plain and mirrored.

    images : (N, 3, H, W) uint8; others : (M, 3, H, W) uint8.
    """
    mine, theirs, mirrored = _fingerprints(images), _fingerprints(others), _fingerprints(others.flip(3))
    return torch.maximum(mine @ theirs.T, mine @ mirrored.T)


def _fingerprints(images: torch.Tensor) -> torch.Tensor:
    """Small grey versions (N, 1024), centred and of unit length."""
    grey = images.float().mean(1, keepdim=True)
    small = functional.interpolate(grey, size=(32, 32), mode="area").flatten(1)
    return functional.normalize(small - small.mean(1, keepdim=True), dim=1)


def make_manifest() -> None:
    """Write data_manifests/emoji.* again, from the class map and the packages pinned in the present head."""
    head = Head.model_validate_json(paths.manifest_head("emoji").read_text())
    body, images = _accepted_icons(head.licences)
    alike = similarity(images, images).numpy()
    keep = ~_repeats(body, alike)
    class_sizes = body[keep].groupby("class_id")["path"].transform("size")
    keep &= class_sizes.reindex(body.index, fill_value=0) >= MIN_IMAGES
    body, alike = body[keep].reset_index(drop=True), alike[np.ix_(keep, keep)]
    body["group"] = _groups(body, alike)
    body["split"] = np.where(_test_rows(body), "test", "train")
    names = body.drop_duplicates("class_id").set_index("class_id")["name"].sort_index()
    body["label"] = body["class_id"].map({c: label for label, c in enumerate(names.index)})
    save_manifest(
        head.model_dump(mode="json") | {"class_names": names.tolist(), "class_ids": names.index.tolist()},
        body.sort_values(["label", "path"])[COLUMNS],
    )


def _accepted_icons(licences: list[Licence]) -> tuple[pd.DataFrame, torch.Tensor]:
    """Every accepted icon of every set, and its picture."""
    sets = load_sets(licences)
    rows, images = [], []
    for line in pd.read_csv(paths.emoji_classes(), keep_default_na=False).itertuples():
        for icon_set, data in sets.items():
            svg = icon_svg(data, line.icon)
            if svg and not line.rejected_because and icon_set not in line.excluded_sets.split():
                rows.append(
                    {
                        "path": f"{icon_set}/{line.icon}",
                        "set": icon_set,
                        "family": FAMILIES[icon_set],
                        "class_id": line.imagenet_index,
                        "name": line.name,
                        "sha256": _sha256(svg),
                    }
                )
                images.append(render(svg, SIZE))
    return pd.DataFrame(rows, columns=["path", "set", "family", "class_id", "name", "sha256"]), torch.stack(images)


def _repeats(body: pd.DataFrame, alike: np.ndarray) -> np.ndarray:
    """(N,) bool: whether an earlier row is the same picture of this class in the same set."""
    key = body["set"] + body["class_id"].astype(str)
    same = (alike > SAME_IN_SET) & (key.to_numpy()[:, None] == key.to_numpy())
    return np.tril(same, -1).any(1)


def _groups(body: pd.DataFrame, alike: np.ndarray) -> np.ndarray:
    """(N,) group names. Icons of one class and family, and icons that look nearly the same, form a group."""
    from scipy.sparse.csgraph import connected_components  # heavy, and only needed here

    key = (body["class_id"].astype(str) + body["family"]).to_numpy()
    linked = (key[:, None] == key) | (alike > SAME_DRAWING)
    _, component = connected_components(linked)
    return body.groupby(component)["path"].transform("first").to_numpy()


def _test_rows(body: pd.DataFrame) -> np.ndarray:
    """(N,) bool: for each class the set of groups whose size is nearest to TEST_SHARE, drawn by hash among equals.

    Groups that contain several classes stay in training.
    """
    test = np.zeros(len(body), dtype=bool)
    free = body[body.groupby("group")["class_id"].transform("nunique") == 1]
    total = body.groupby("class_id").size()
    for class_id, rows in free.groupby("class_id"):
        sizes = rows.groupby("group").size()
        options = {}  # (distance to the wanted size, hash) of each set of groups
        for k in range(1, len(sizes) + 1):
            for chosen in combinations(sizes.index, k):
                size = sizes[list(chosen)].sum()
                if size < total[class_id]:
                    distance = abs(size - TEST_SHARE * total[class_id])
                    options[chosen] = distance, seed_for("emoji", "split", class_id, *chosen)
        best = min(options, key=options.get)
        test[rows.index[rows["group"].isin(best)]] = True
    return test


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


BENCHMARK = Benchmark(
    build_images,
    make_manifest,
    recipes={  # chosen by bench/choose_recipe.py, on a class split that is never reported
        "smoke": {"epochs": 1, "lr": 2e-2},
        "default": {"epochs": 5, "lr": 2e-2},
        "full": {"epochs": 5, "lr": 2e-2},
    },
    grids={
        "smoke": Grid((2e-2,), (1,)),
        "default": Grid((5e-3, 2e-2), (5,)),
        "full": Grid((2e-3, 5e-3, 2e-2), (5, 10), development=(0, 10)),
    },
)
