"""`iwildcam`: camera traps; animals that first appear at a place after the network was fine-tuned there.

Where: iWildCam2020 in the WILDS project (Beery et al. 2020; Koh et al., ICML 2021), under the Community Data License
Agreement, Permissive, 1.0.
Tree: <folder>/metadata.csv, <folder>/categories.csv (columns y and name) and <folder>/train/<image>; the archive
unpacks as `iwildcam_v2.0`.

A task is one place, or a few: the early images are for fine-tuning, their classes are the seen ones, and the later
images are the test. Of the classes that appear only later, the first half of the sequences are training images too:
fine-tuning on the seen classes never uses them, the NCM probe and the upper bound need them. The starting network is
trained on the same classes at the places of WILDS' own training part.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from ..core import external_files
from ..core.errors import UserError, unknown
from ..core.progress import log
from ..core.seeds import generator_for
from .benchmark import Benchmark
from .collection import Collection, origin, wrong_tree
from .folder import decode_folder
from .manifest import SOURCE
from .paper_recipe import with_paper

PLACES = ("location_remapped", "location")  # the first that there is
SEQUENCES = ("sequence_remapped", "seq_id")
PER_CLASS = 1000  # source images of a class at most, drawn by a named seed
ORIGIN = origin("iWildCam2020-WILDS", "S. Beery, E. Cole, A. Gjoka; P. W. Koh et al.", "CDLA-Permissive-1.0")


def collect(folder: Path, places: Sequence[str], until: str | None = None) -> Collection:
    """The images of a place or a few: train up to the day `until`, test after it, source from other places.

    Images of one sequence stay together: the day of its first image decides. By default `until` is the day by which
    half of the images had been made. Classes without a source image are left out, for no network could know them.
    Raises UserError for another tree, an unknown place or day, and if no class is absent from the early images.
    """
    data = _read(folder)
    for place in places:
        if place not in set(data["place"]):
            raise unknown("place", place, set(data["place"]))
    here = data["place"].isin(places)
    source = data[~here & (data["split"] == "train")]
    target = data[here & data["y"].isin(source["y"])]
    left_out = sorted(set(data.loc[here, "y"]) - set(source["y"]))
    if left_out:
        log(f"classes that occur at no other place are left out: {', '.join(map(str, left_out))}")
    if target.empty:
        raise UserError(f"place {', '.join(places)} has no class that occurs at another place; give another place")
    starts = target.groupby("group")["date"].transform("min")
    last = _day(until) if until else starts.sort_values().iloc[(len(starts) - 1) // 2]
    target = target.assign(split=(starts <= last).map({True: "train", False: "test"}))
    seen = set(target.loc[target["split"] == "train", "y"])
    absent = set(target["y"]) - seen
    if not seen or not absent:
        raise UserError(
            f"place {', '.join(places)}: {len(seen)} classes occur up to {last:%Y-%m-%d} and {len(absent)} only later; "
            "both must be there; give another day with --until, or another place"
        )
    target.loc[target["group"].isin(_first_half(target, absent)), "split"] = "train"
    classes = sorted(set(target["y"]))
    names = _names(folder)
    if unnamed := [y for y in classes if y not in names]:
        raise UserError(f"categories.csv has no name for class {unnamed[0]}; restore it from the archive")
    rows = pd.concat([_at_most(source[source["y"].isin(classes)]).assign(split=SOURCE), target], ignore_index=True)
    rows = pd.DataFrame(
        {
            "path": "train/" + rows["filename"],
            "label": rows["y"].map(classes.index),
            "split": rows["split"],
            "group": rows["group"],
            "date": rows["date"].dt.strftime("%Y-%m-%d"),
            "place": rows["place"],
        }
    )
    head = {
        "title": f"iWildCam, place {', '.join(places)}, after {last:%Y-%m-%d}",
        "seen": [names[y] for y in classes if y in seen],
        "recipe": "iwildcam",
    }
    return Collection(f"iwildcam-{'-'.join(places)}", folder, rows, [names[y] for y in classes], head, [ORIGIN])


def _read(folder: Path) -> pd.DataFrame:
    """The metadata with columns split, place, group, date (without the hour), y and filename."""
    file = folder / "metadata.csv"
    if not file.is_file() or not (folder / "categories.csv").is_file() or not (folder / "train").is_dir():
        raise wrong_tree(folder, "metadata.csv, categories.csv and the images in train/")
    table = external_files.read_table(file)
    place, sequence = (next((name for name in names if name in table), names[-1]) for names in (PLACES, SEQUENCES))
    lacking = [name for name in ("split", place, sequence, "datetime", "y", "filename") if name not in table]
    if lacking:
        raise wrong_tree(folder, f"a metadata.csv with the columns {', '.join(lacking)}")
    date = pd.to_datetime(table["datetime"], errors="coerce", format="ISO8601")
    if date.isna().any():
        raise UserError(
            f"metadata.csv has {int(date.isna().sum())} rows without a date in `datetime`, first "
            f"{table.loc[date.isna(), 'filename'].iloc[0]}; restore it from the archive"
        )
    known = pd.DataFrame(
        {
            "split": table["split"],
            "place": table[place].astype(str),
            "date": date.dt.normalize(),
            "y": table["y"],
            "filename": table["filename"],
        }
    )
    return known.assign(group=known["place"] + "/" + table[sequence].astype(str))


def _names(folder: Path) -> dict[int, str]:
    """The name of each class number."""
    table = external_files.read_table(folder / "categories.csv")
    if not {"y", "name"} <= set(table):
        raise wrong_tree(folder, "a categories.csv with the columns y and name")
    return dict(zip(table["y"], table["name"]))


def _day(written: str) -> pd.Timestamp:
    day = pd.to_datetime(written, errors="coerce", format="ISO8601")
    if pd.isna(day):
        raise UserError(f"--until is {written!r}; give a day such as 2013-05-31")
    return day.tz_localize(None)


def _first_half(target: pd.DataFrame, absent: set[int]) -> pd.Index:
    """The groups, of those that show absent classes alone, that are the first half of their class in time."""
    shown = target.assign(absent=target["y"].isin(absent)).groupby("group")
    groups = (
        shown.agg({"y": "first", "date": "min", "absent": "all"}).query("absent").sort_values("date", kind="stable")
    )
    place, size = groups.groupby("y").cumcount(), groups.groupby("y")["date"].transform("size")
    return groups.index[place < size // 2]


def _at_most(source: pd.DataFrame) -> pd.DataFrame:
    """At most `PER_CLASS` rows of each class."""
    kept = []
    for label, own in source.groupby("y"):
        order = torch.randperm(len(own), generator=generator_for("iwildcam source", label))
        kept.append(own.iloc[order[:PER_CLASS].sort().values.numpy()])
    return pd.concat(kept)


BENCHMARK = Benchmark(
    decode_folder,
    # ours: the paper's source training is not published
    source_recipe={"epochs": 30, "lr": 1e-2, "weight_decay": 5e-4, "batch_size": 64, "backbone_lr_scale": 0.1},
    recipes=with_paper(rounds=50, weight_decay=1e-4),
)
