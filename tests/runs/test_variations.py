"""The variations of the recipe that ablations need: no augmentation, fewer images of each class."""

from dataclasses import replace

import pytest
import torch

from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.benchmarks.preprocess import normalizer
from analysis_lib.core.seeds import generator_for
from analysis_lib.runs.execute import training_data, training_rows
from analysis_lib.runs.plan import plan, upper_bound


@pytest.fixture
def spec(project):
    return plan("digits", "smoke", [0])[0]


def rows_of(spec, **changes):
    return training_rows(load_manifest("digits"), replace(spec, **changes))


def test_without_augmentation_images_are_only_normalised(spec):
    manifest = load_manifest("digits")
    images, head, cpu = load_images(manifest), manifest.head, torch.device("cpu")
    rows = torch.arange(6)
    batches = {}
    for augmented in (True, False):
        run = replace(spec, augmented=augmented)
        data = training_data(images, manifest.labels, rows, run, head, cpu)
        batches[augmented] = [data.batch(rows, generator_for("test", draw))[0] for draw in range(2)]
    as_is = normalizer(head.mean, head.std, torch.float64, cpu)(images[rows])
    assert torch.equal(batches[False][0], as_is) and torch.equal(batches[False][1], as_is)
    assert not torch.equal(batches[True][0], batches[True][1])


def test_fewer_images_of_each_class_are_nested_and_even(spec):
    labels = load_manifest("digits").labels
    whole = rows_of(spec)
    before = torch.empty(0, dtype=torch.int64)
    for number in (1, 5, 20):
        rows = rows_of(spec, images_per_class=number)
        assert torch.equal(rows, rows.unique()), "in the manifest's order, each once"
        counts = labels[rows].bincount(minlength=10)
        assert set(counts.tolist()) == {0, number}
        assert torch.equal(labels[rows].unique(), labels[whole].unique()), "no seen class is lost"
        assert torch.isin(before, rows).all() and torch.isin(rows, whole).all()
        before = rows


def test_more_images_than_there_are_is_all(spec):
    assert torch.equal(rows_of(spec, images_per_class=10_000), rows_of(spec))


def test_the_images_depend_on_the_seed_and_not_on_what_else_is_trained_on(spec):
    few = rows_of(spec, images_per_class=5)
    bound = training_rows(load_manifest("digits"), upper_bound(replace(spec, images_per_class=5)))
    assert len(bound) == 50 and torch.isin(few, bound).all(), "the upper bound adds the absent classes' images"
    labels = load_manifest("digits").labels
    other = rows_of(spec, seed=1, images_per_class=5)
    shared = labels[few].unique()[torch.isin(labels[few].unique(), labels[other].unique())]
    assert any(not torch.equal(few[labels[few] == c], other[labels[other] == c]) for c in shared)
