from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from analysis_lib.analysis.influence.kernel import class_kernel
from analysis_lib.analysis.stats import split_half
from analysis_lib.benchmarks.images import load_images
from analysis_lib.core import files, paths
from analysis_lib.core.seeds import generator_for
from analysis_lib.models.backbone import features_and_logits
from analysis_lib.runs import execute
from analysis_lib.studies import gain_predictors, gradient_features

OUTCOMES = ["start", *gain_predictors.OUTCOMES]


@pytest.fixture
def spec(digits):
    return digits.specs[1]


@pytest.fixture
def network(spec):
    return execute.load_before_after(spec, "cpu")[0]


def pictures(study, index):
    return (load_images(study.manifest)[index].double() / 255 - 0.5) / 0.5


def head_rows(spec):
    return files.read_tensors(paths.run_head(spec.run_id, 0))["weight"]


def subsets(study, spec):
    """The rows of the test images that each row of the table may use, by images, split and half."""
    test = study.outputs(spec, 0, "test")
    stream = generator_for("halves", "digits", spec.seed)
    halves = split_half.halves(study.clusters(test), test.labels, gain_predictors.SPLITS, stream)
    found = {("half", s, h): halves[s, h] for s in range(len(halves)) for h in (0, 1)}
    return {("all", -1, -1): torch.ones(len(test.labels), dtype=torch.bool)} | found


CHECKED = [("all", -1, -1), ("half", 0, 0), ("half", 0, 1), ("half", 7, 1)]


def best_images(study, spec, c, inside):
    """The test rows inside whose logit of class c is largest, best first."""
    logits = study.outputs(spec, 0, "test").logits[:, c].tolist()
    rows = inside.nonzero().squeeze(1).tolist()
    return sorted(rows, key=logits.__getitem__, reverse=True)[: gain_predictors.IMAGES]


def cosine(a, b):
    return float(a @ b / a.norm() / b.norm())


def seen_means(study, spec):
    """The mean unit feature of every seen class on the fine-tuning data."""
    train = study.outputs(spec, 0, "train")
    return {c: normalize(train.features[train.labels == c], dim=1).mean(0) for c in study.split(spec).seen}


@pytest.mark.parametrize("key", CHECKED)
def test_cheap_predictors_by_hand(digits, spec, key):
    table, rows, means = gain_predictors.by_class(digits, spec), head_rows(spec), seen_means(digits, spec)
    split, pool, inside = digits.split(spec), digits.outputs(spec, 0, "test"), subsets(digits, spec)[key]
    keys = ["images", "split", "half", "seed", "absent"]
    assert list(table.columns) == [*keys, *gain_predictors.PREDICTORS, *gain_predictors.OUTCOMES, "n"]
    part = table.set_index(["images", "split", "half"]).loc[key]
    assert part["absent"].tolist() == [digits.manifest.class_names[c] for c in split.absent]
    assert (part["seed"] == spec.seed).all()
    tangents, own = gradient_features.tangents(digits, spec), digits.fine_tuning_outputs(spec, 0)
    similarity, _ = class_kernel(tangents[:, pool.index], tangents[:, own.index], own.labels)
    shift_seen = torch.stack([mean / mean.norm() - rows[c] / rows[c].norm() for c, mean in means.items()]).mean(0)
    for row, c in zip(part.itertuples(), split.absent):
        best = best_images(digits, spec, c, inside)
        assert row.head_cosine == pytest.approx(max(cosine(rows[c], rows[s]) for s in split.seen))
        assert row.feature_cosine == pytest.approx(
            np.mean([max(cosine(pool.features[i], mean) for mean in means.values()) for i in best])
        )
        odds = [pool.logits[i].exp() for i in best]
        assert row.confidence == pytest.approx(np.mean([float(e[c] / e[list(split.absent)].sum()) for e in odds]))
        unit = normalize(pool.features[best], dim=1).mean(0)
        assert row.shift_agreement == pytest.approx(cosine(unit / unit.norm() - rows[c] / rows[c].norm(), shift_seen))
        assert row.kernel == pytest.approx(float(similarity[best[0]].max()))


def test_first_order_is_what_a_small_step_does_to_the_margin(digits, spec, network):
    table, rows, split = gain_predictors.by_class(digits, spec), head_rows(spec), digits.split(spec)
    labels, eta = digits.manifest.labels, 1e-8
    index = torch.tensor([i for i in digits.manifest.rows("train").tolist() if int(labels[i]) in split.seen])
    theta = [value for name, value in network.named_parameters() if not name.startswith("head.")]
    slopes = torch.autograd.grad(cross_entropy(network(pictures(digits, index)), labels[index]), theta)

    def mean_margin(c, images):
        found = []
        for feature in features_and_logits(network, images)[0]:
            cosines = {other: cosine(feature, row) for other, row in enumerate(rows)}
            found.append(cosines.pop(c) - max(cosines.values()))
        return np.mean(found)

    test, masks = digits.outputs(spec, 0, "test"), subsets(digits, spec)
    best = {
        (key, c): pictures(digits, test.index[best_images(digits, spec, c, masks[key])])
        for key in CHECKED[:2]
        for c in split.absent
    }
    with torch.no_grad():
        before = {place: mean_margin(place[1], images) for place, images in best.items()}
        for value, slope in zip(theta, slopes):
            value -= eta * slope
        real = [(mean_margin(place[1], images) - before[place]) / eta for place, images in best.items()]
    parts = table.set_index(["images", "split", "half"])["first_order"]
    found = [value for key in CHECKED[:2] for value in parts.loc[key]]
    assert found == pytest.approx(real, rel=1e-3, abs=1e-3)


def by_epoch(study, spec, inside):
    """NCM accuracy, mean margin and number of the inside test samples of each absent class, before and after."""
    found = []
    for epoch in (0, spec.epochs):
        train, test = (study.outputs(spec, epoch, part) for part in ("train", "test"))
        means = torch.stack([normalize(train.features[train.labels == c], dim=1).mean(0) for c in range(10)])
        cosines = cosine_similarity(test.features[:, None], means, dim=2).numpy()
        by_class = []
        for c in study.split(spec).absent:
            mine = [row for row, y, ok in zip(cosines, test.labels.tolist(), inside) if y == c and ok]
            by_class.append(
                (
                    np.mean([row.argmax() == c for row in mine]),
                    np.mean([row[c] - np.delete(row, c).max() for row in mine]),
                    len(mine),
                )
            )
        found.append(np.array(by_class))
    return found


@pytest.mark.parametrize("key", CHECKED)
def test_outcomes_by_loops(digits, spec, key):
    """NCM with means of all training images: accuracy and mean margin of each class, after less before."""
    part = gain_predictors.by_class(digits, spec).set_index(["images", "split", "half"]).loc[key]
    before, after = by_epoch(digits, spec, subsets(digits, spec)[key])
    assert np.allclose(part[["ncm_gain", "margin_gain"]], after[:, :2] - before[:, :2], atol=1e-12)
    assert part["start"].to_list() == pytest.approx(before[:, 0].tolist())
    assert part["n"].tolist() == before[:, 2].tolist()


def test_swapping_exchanges_before_and_after(digits, spec):
    """The two accuracies of a class still add up to the same; which of them comes first is a coin's choice."""
    table = gain_predictors.by_class(digits, spec)
    whole, swapped = (table[table["images"] == images] for images in ("all", "swapped"))
    total = (2 * whole["start"] + whole["ncm_gain"]).to_numpy()
    by_draw = (2 * swapped["start"] + swapped["ncm_gain"]).to_numpy().reshape(gain_predictors.SPLITS, -1)
    assert np.allclose(by_draw, total)
    gains = swapped["margin_gain"].to_numpy().reshape(gain_predictors.SPLITS, -1)
    assert abs(gains.mean(0) / gains.std(0)).max() < 5 / gain_predictors.SPLITS**0.5, "on average, nothing happens"
    other = [name for name in gain_predictors.PREDICTORS if name != "start"]
    assert swapped[other].isna().all(axis=None) and whole[other].notna().all(axis=None)


def test_a_cluster_is_swapped_whole(digits, spec, monkeypatch):
    """With one cluster for each class, before and after are exchanged for the whole class or not at all."""
    monkeypatch.setattr(type(digits), "clusters", lambda self, outputs: outputs.labels)
    table = gain_predictors.by_class(digits, spec)
    whole, swapped = (table[table["images"] == images] for images in ("all", "swapped"))
    gains = swapped["margin_gain"].to_numpy().reshape(gain_predictors.SPLITS, -1)
    assert np.allclose(abs(gains), abs(whole["margin_gain"].to_numpy()))
    assert (gains.min(0) < 0).all() and (gains.max(0) > 0).all()
    assert not (table["images"] == "half").any(), "a class of one cluster has no halves"


def test_predictors_see_no_absent_label_and_no_absent_training_image(digits, spec, monkeypatch, tmp_path):
    """Test labels permuted, stored outputs and images of absent training samples spoilt: predictions stay, outcomes
    change. The halves are given, because they are drawn within classes.
    """
    masks = torch.stack([subsets(digits, spec)["half", split, half] for split in range(3) for half in (0, 1)])
    monkeypatch.setattr(split_half, "halves", lambda *_: masks.unflatten(0, (3, 2)))
    clean, real = gain_predictors.by_class(digits, spec), type(digits).outputs
    images, labels = load_images(digits.manifest), digits.manifest.labels
    absent = ~digits.split(spec).is_seen(labels)

    def poisoned(self, spec, epoch, part):
        found = real(self, spec, epoch, part)
        if part == "test":
            order = torch.randperm(len(found.labels), generator=torch.Generator().manual_seed(epoch))
            return replace(found, labels=found.labels[order])
        rows = absent[found.index]
        found.features[rows] = torch.randn(
            int(rows.sum()), 64, generator=torch.Generator().manual_seed(epoch), dtype=torch.float64
        )
        found.logits[rows] = torch.nan
        return found

    def spoilt(manifest):
        copy = images.clone()
        copy[digits.manifest.rows("train")[absent[digits.manifest.rows("train")]]] = 77
        return copy

    monkeypatch.setattr(type(digits), "outputs", poisoned)
    monkeypatch.setattr("analysis_lib.runs.run_set.load_images", spoilt)
    for name in ("run_step", "run_displacement", "tangents"):
        monkeypatch.setattr(paths, name, lambda *_, name=name: tmp_path / name)
    dirty = gain_predictors.by_class(digits, spec)
    assert {path.name for path in tmp_path.iterdir()} >= {"run_step", "run_displacement", "tangents"}
    same = list(clean.columns.difference([*OUTCOMES, "n"]))
    assert {"kernel", "first_order", "feature_cosine"} < set(same)
    pd.testing.assert_frame_equal(clean[same], dirty[same], check_exact=True)
    assert (clean[OUTCOMES] != dirty[OUTCOMES]).mean().min() > 0.9


def test_absent_classes_without_test_samples_are_left_out(digits, spec, monkeypatch):
    full, real, gone = gain_predictors.by_class(digits, spec), type(digits).outputs, digits.split(spec).absent[1]

    def relabelled(self, spec, epoch, part):
        found = real(self, spec, epoch, part)
        return (
            replace(found, labels=torch.where(found.labels == gone, digits.split(spec).seen[0], found.labels))
            if part == "test"
            else found
        )

    monkeypatch.setattr(type(digits), "outputs", relabelled)
    table, name = gain_predictors.by_class(digits, spec), digits.manifest.class_names[gone]
    assert name not in set(table["absent"])
    whole, before = (each[each["images"] == "all"].reset_index(drop=True) for each in (table, full))
    pd.testing.assert_frame_equal(whole, before[before["absent"] != name].reset_index(drop=True))


def test_a_class_of_one_cluster_has_no_halves(digits, spec, monkeypatch):
    one, real = digits.split(spec).absent[2], type(digits).clusters

    def joined(self, outputs):
        return torch.where(outputs.labels == one, 10**6, real(self, outputs)).unique(return_inverse=True)[1]

    monkeypatch.setattr(type(digits), "clusters", joined)
    table, name = gain_predictors.by_class(digits, spec), digits.manifest.class_names[one]
    assert set(table["images"][table["absent"] == name]) == {"all", "swapped"}
    others = table[table["absent"] != name]
    assert (others.groupby("absent")["images"].value_counts().unstack()["half"] == 2 * gain_predictors.SPLITS).all()
