"""What a benchmark, a machine and a command are: counts, licences, processors, times."""

import pandas as pd

from ...benchmarks.manifest import SOURCE
from ..markdown import number, table
from .cells import MEASURES, STAR, find


def overview(ref) -> str:
    """Classes and images of each group for each seed's split."""
    found = ref.table("00_overview")
    rows = [list(row) for row in found.itertuples(index=False)]
    return table(rows, ["seed", "group", "classes", "training images", "test images"])


def licences(ref) -> str:
    """Where the images come from, from the manifest."""
    rows = [
        [f"`{each['package']}` {each['version']}", each["name"], each["author"], each["licence"]]
        for each in ref.manifest()["licences"]
    ]
    return table(rows, ["package", "set", "author", "licence"])


def processors(ref) -> str:
    """The same runs under other instruction sets and numbers of threads; the last column says how far they part."""
    return _settings(ref.table("processors"))


def processors_before(ref) -> str:
    """`processors` as measured before the draws were made exact."""
    return _settings(ref.table("processors_before"))


def _settings(found: pd.DataFrame) -> str:
    """A table of `bench/processors.py`."""
    labels = {"gamma*": STAR, "gamma stand_in": "gamma by stand-ins", "mean logit": "mean logit"}
    rows = []
    for _, row in found.iterrows():
        label, style = MEASURES.get(row["metric"], (labels.get(row["metric"]), {}))
        rows.append([label, *(number(value, **style) for value in row.drop(["seed", "metric"]))])
    settings = [
        f"{name} thread{'s' * (not name.endswith(' 1'))}" for name in found.columns.drop(["seed", "metric", "range"])
    ]
    return table(rows, [f"seed {found['seed'].unique().item()}, n = 1 run each", *settings, "range"])


def made_on(ref) -> str:
    """Which machine, settings and versions the reference was made with, as a sentence."""
    made = ref.made_on()
    versions = ", ".join(f"{name} {version}" for name, version in sorted(made["versions"].items()))
    threads = " or ".join(map(str, made["threads"]))
    return (
        f"Made on {made['date']} with profile `{made['profile']}` and seeds {made['seeds']}, on {made['cores']} "
        f"cores of {made['processor']} ({made['level']}), {threads} threads; {versions}."
    )


def images(ref, part: str = "") -> str:
    """How many images a benchmark has: of the target domain, or of one part, `train`, `test` or `source`."""
    body = ref.images()
    return f"{(body['split'] == part).sum() if part else (body['split'] != SOURCE).sum():,}"


def groups(ref, part: str) -> str:
    """How many groups, such as font families, one part has."""
    body = ref.images()
    return str(body.loc[body["split"] == part, "group"].nunique())


def classes(ref) -> str:
    """How many classes a benchmark has."""
    return str(len(ref.manifest()["class_names"]))


def minutes(ref, command: str) -> str:
    """How long a command took, as a range over machines."""
    row = find(ref.shared("times"), command=command)
    return f"{row['low']:.0f} to {row['high']:.0f} minutes"
