import pytest
import torch
from torch.nn.functional import interpolate

from analysis_lib import UserError
from analysis_lib.benchmarks import digits, tasks
from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.benchmarks.tasks import TASKS, TEST, TRAIN, balanced, load_task, resize, task_names


@pytest.mark.parametrize("name", TASKS)
def test_training_and_test_images_share_no_drawing(name):
    """On the checkout itself, whose emoji are rendered once."""
    task = load_task(name, TASKS[name].size)
    assert task.images.dtype == torch.uint8 and len(task.images) == len(task.labels) == len(task.clusters)
    assert len(task.train) <= TRAIN and len(task.test) <= TEST
    assert sorted(torch.cat([task.train, task.test]).tolist()) == list(range(len(task.images)))
    assert not set(task.clusters[task.train].tolist()) & set(task.clusters[task.test].tolist())
    for rows in (task.train, task.test):
        counts = task.labels[rows].bincount(minlength=task.num_classes)
        assert len(counts) == task.num_classes and counts.min() > 0


@pytest.mark.parametrize("name", ["printed_digits", "printed_letters"])
def test_printed_characters_of_a_font_are_in_one_part(name):
    task = load_task(name, 16)
    fonts = task.clusters // task.num_classes
    train, test = ({digits.FONTS[i] for i in fonts[rows].tolist()} for rows in (task.train, task.test))
    assert test == set(tasks.TEST_FONTS) and len(train) == len(digits.FONTS) - len(test) and not train & test
    assert (task.clusters % task.num_classes == task.labels).all()


def test_printed_digits_are_the_source_images_of_the_benchmark():
    task = load_task("printed_digits", 16)
    images, labels = digits.source_images()
    known = {(image.numpy().tobytes(), label) for image, label in zip(images, labels.tolist())}
    assert all((image.numpy().tobytes(), label) in known for image, label in zip(task.images, task.labels.tolist()))


def test_a_task_of_a_benchmark_keeps_its_images_labels_and_parts():
    manifest = load_manifest("emoji")
    images, task = load_images(manifest), load_task("emoji", 128)
    place = {image.numpy().tobytes(): row for row, image in enumerate(images)}
    rows = torch.tensor([place[image.numpy().tobytes()] for image in task.images])
    assert (manifest.body["split"].to_numpy()[rows[task.train]] == "train").all()
    assert (manifest.body["split"].to_numpy()[rows[task.test]] == "test").all()
    pairs = set(zip(task.labels.tolist(), manifest.labels[rows].tolist()))
    assert len(pairs) == task.num_classes == len({b for _, b in pairs}), "each class keeps its images"


def test_a_subset_is_balanced_as_far_as_the_classes_reach(random):
    labels = torch.tensor([0] * 50 + [1] * 3 + [2] * 20)
    rows = torch.arange(73)
    kept = balanced(labels, rows, 23, random)
    assert labels[kept].bincount().tolist() == [10, 3, 10]
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert balanced(labels, rows, 100, random).tolist() == rows.tolist()
    first, second = (balanced(labels, rows, 23, torch.Generator().manual_seed(seed)).tolist() for seed in (0, 1))
    assert first != second


def test_images_are_resized_as_torch_does_and_left_alone_where_they_fit(random):
    images = torch.randint(256, (70, 3, 16, 16), generator=random).byte()
    assert resize(images, 16) is images
    for size in (8, 40):
        expected = interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
        found = resize(images, size)
        assert found.shape == (70, 3, size, size) and (found.float() - expected).abs().max() <= 0.501
    flat = torch.full((1, 3, 16, 16), 37, dtype=torch.uint8)
    assert (resize(flat, 128) == 37).all()


def test_networks_get_the_tasks_that_they_can_resolve():
    assert task_names(16) == ["digits", "printed_digits", "printed_letters"]
    assert set(task_names(128)) == set(TASKS)
    with pytest.raises(UserError, match=r"unknown task 'digit' \(did you mean 'digits'\?\)"):
        load_task("digit", 16)
