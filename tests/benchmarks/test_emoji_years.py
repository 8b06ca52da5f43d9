from pathlib import Path

import pandas as pd
import pytest

from analysis_lib.benchmarks import emoji, emoji_years
from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.core import paths
from analysis_lib.runs.class_folds import third_specs
from analysis_lib.runs.plan import plan
from analysis_lib.runs.rows import training_rows

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def manifest():
    return load_manifest("emoji_years")


@pytest.fixture(scope="module")
def rows(manifest):
    """The body with its icon set, its year as a number, and whether its class is seen."""
    return manifest.body.assign(
        icon_set=manifest.body["path"].str.split("/").str[0],
        year=manifest.body["date"].astype(float),
        seen=manifest.class_split(0).is_seen(manifest.labels).numpy(),
    )


def test_seen_classes_are_those_that_early_sets_draw_for_every_seed(manifest, rows):
    early = set(rows["label"][rows["year"] <= emoji_years.LAST_EARLY])
    for seed in (0, 7):
        assert set(manifest.class_split(seed).seen) == early
    assert not early & set(rows["label"][~rows["seen"]])
    assert len(manifest.class_split(0).absent) >= 40 and (~rows["seen"] & (rows["split"] == "test")).sum() >= 250


def test_every_run_is_fine_tuned_on_early_images_alone(manifest, rows):
    (spec,) = plan("emoji_years", "default", [0])
    for each in (spec, *third_specs(spec)):
        own = rows.iloc[training_rows(manifest, each).numpy()]
        assert (own["year"] <= emoji_years.LAST_EARLY).all() and own["seen"].all()
    test = rows[rows["split"] == "test"]
    assert (test["year"] > emoji_years.LAST_EARLY).all()


def test_training_rows_of_absent_classes_are_undated_and_cover_every_one(rows):
    probe = rows[(rows["split"] == "train") & ~rows["seen"]]
    assert set(probe["icon_set"]) == {emoji_years.PROBE} and probe["date"].isna().all()
    assert set(probe["label"]) == set(rows["label"][~rows["seen"]])
    assert rows[rows["date"].isna()].equals(probe)


def test_dates_are_those_of_the_table_and_a_family_lies_in_one_period(rows):
    table = pd.read_csv(REPOSITORY / "data_manifests" / "emoji_years_sets.csv", dtype=str)
    assert table["source"].notna().all() and set(table["set"]) == set(emoji.FAMILIES)
    years = table.set_index("set")["year"]
    dated = rows.dropna(subset="date")
    assert dated["date"].eq(dated["icon_set"].map(years)).all()
    assert rows["place"].eq(rows["icon_set"].map(emoji.FAMILIES)).all()
    late = dated["year"] > emoji_years.LAST_EARLY
    assert late.groupby(dated["place"]).nunique().eq(1).all()
    assert dated[late].groupby("place")["date"].nunique().eq(1).all(), "each late family is one period"


def test_every_period_tests_seen_and_absent_classes(manifest, rows):
    counts = pd.crosstab(manifest.periods, rows["seen"])
    assert list(counts.index) == ["2017", "2019", "2022"] and counts.min(axis=None) >= 60


def test_no_drawing_is_trained_on_and_tested(manifest, rows):
    images = load_images(manifest)
    train, test = manifest.rows("train"), manifest.rows("test")
    assert emoji.similarity(images[test], images[train]).max() <= emoji.SAME_DRAWING
    assert rows.groupby("group")["split"].nunique().eq(1).all()


def test_what_was_dropped_looks_like_a_training_row(rows):
    """The late rows of `emoji` that are missing here, and no other, share a group with a training row."""
    base = load_manifest("emoji").body
    late = base[base["path"].str.split("/").str[0].isin(set(rows["icon_set"][rows["split"] == "test"]))]
    dropped = ~late["path"].isin(rows["path"])
    near = late["group"].isin(rows["group"][rows["split"] == "train"])
    assert dropped.equals(near) and 0 < dropped.sum() < 30


def test_the_manifest_can_be_made_again_from_that_of_emoji(project):
    before = [path.read_bytes() for path in (paths.manifest_head("emoji_years"), paths.manifest_body("emoji_years"))]
    emoji_years.make_manifest()
    assert before == [
        path.read_bytes() for path in (paths.manifest_head("emoji_years"), paths.manifest_body("emoji_years"))
    ]
