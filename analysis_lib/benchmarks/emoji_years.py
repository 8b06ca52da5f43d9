"""`emoji_years`: icon sets in the order of their years, fine-tuned on the early sets and tested on the late ones.

The rows are those of `emoji`, with its classes, pictures and groups. `date` is the year of a set,
`data_manifests/emoji_years_sets.csv` says where each year stands, and `place` is the family of drawings. A year is that
of the first release of a design: pictures that a set added later carry it too.

- Early are the sets up to `LAST_EARLY`: fxemoji, and all sets of the family emojione. Their classes are seen, and
  their rows are the only ones that are ever fine-tuned on.
- Late are noto, openmoji and the family fluent. All their rows are test rows; each family is a period.
- Absent classes are those that only late sets draw. Nearly all are emoji that Unicode added after 2016.
- A family lies in one period only. The blobs of noto-v1 (2013) share drawings with noto, so they are left out.
- twemoji was released in 2014 and is redrawn and extended to this day. It has no year and is in no period. Its
  drawings of absent classes are training rows without a date: the means of the nearest-class-mean probe and the upper
  bound (*oracle*) use them, fine-tuning never does. So every period tests every absent class, where a late family in
  their place would leave its own period without absent images.
- A late drawing that looks nearly like a training row, which is in the same group of `emoji`, is dropped.

Tried and rejected: noto-v1 as an early set too, which costs the period 2017 and two absent classes; only emojione-v1
and fxemoji as early sets, which makes 95 classes absent but leaves 236 of 624 images to fine-tune on.

Limit: a period is one design, so its year and its style cannot be told apart.
"""

import numpy as np
import pandas as pd

from ..core import paths
from . import emoji
from .benchmark import Benchmark
from .manifest import COLUMNS, OPTIONAL, load_manifest, save_manifest

LAST_EARLY = 2016
PROBE = "twemoji"
LEFT_OUT = ("noto-v1", "streamline-emojis")


def set_years() -> pd.Series:
    """The year of each icon set, NaN for those without one."""
    return pd.read_csv(paths.emoji_years_sets()).set_index("set")["year"]


def make_manifest() -> None:
    """Write data_manifests/emoji_years.*, from the manifest of `emoji` and the years of the sets."""
    base = load_manifest("emoji")
    icon_set = base.body["path"].str.split("/").str[0]
    year = icon_set.map(set_years())
    used = ~icon_set.isin(LEFT_OUT)
    early, late = used & (year <= LAST_EARLY), used & (year > LAST_EARLY)
    seen = set(base.body["label"][early])
    probe = (icon_set == PROBE) & ~base.body["label"].isin(seen)
    body = base.body.assign(
        split=np.select([early | probe, late], ["train", "test"], ""),
        date=year.map("{:.0f}".format, na_action="ignore"),
        place=icon_set.map(emoji.FAMILIES),
    )
    body = body[body["split"] != ""]
    near_training = body["group"].isin(body["group"][body["split"] == "train"])
    body = body[~(near_training & (body["split"] == "test"))]
    drawn = body["path"].str.split("/").str[0].unique()
    changes = {
        "name": "emoji_years",
        "title": "From ImageNet photographs to emoji, early sets to late ones",
        "builder": "emoji_years",
        "licences": [
            licence.model_dump()
            for licence in base.head.licences
            if licence.package.removeprefix("@iconify-json/") in drawn
        ],
        "seen": [name for label, name in enumerate(base.class_names) if label in seen],
    }
    save_manifest(base.head.model_dump(mode="json") | changes, body[COLUMNS + OPTIONAL])


BENCHMARK = Benchmark(
    emoji.build_images,
    make_manifest,
    recipes=emoji.BENCHMARK.recipes,
    grids={
        "smoke": emoji.BENCHMARK.grids["smoke"],
        "default": emoji.BENCHMARK.grids["default"],
        "full": emoji.BENCHMARK.grids["default"],  # no development seeds: nothing was chosen on it
    },
)
