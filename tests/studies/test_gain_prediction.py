import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.decomposition import PCA
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from analysis_lib.benchmarks.images import load_images
from analysis_lib.core import files, paths
from analysis_lib.core.seeds import generator_for
from analysis_lib.models.backbone import features_and_logits
from analysis_lib.runs import execute, run_set
from analysis_lib.studies import accuracy, gain_prediction


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


def best_images(study, spec, c):
    """The test rows whose logit of class c is largest, best first."""
    logits = study.outputs(spec, 0, "test").logits[:, c].tolist()
    return sorted(range(len(logits)), key=logits.__getitem__, reverse=True)[: gain_prediction.IMAGES]


def cosine(a, b):
    return float(a @ b / a.norm() / b.norm())


def seen_means(study, spec):
    """The mean unit feature of every seen class on the fine-tuning data."""
    train = study.outputs(spec, 0, "train")
    return {c: normalize(train.features[train.labels == c], dim=1).mean(0) for c in study.split(spec).seen}


def test_cheap_predictors_by_hand(digits, spec):
    table, rows, means = gain_prediction.by_class(digits, spec), head_rows(spec), seen_means(digits, spec)
    split, pool = digits.split(spec), digits.outputs(spec, 0, "test")
    assert (
        table["absent"].tolist() == [digits.manifest.class_names[c] for c in split.absent]
        and (table["seed"] == spec.seed).all()
    )
    assert sorted(table.columns) == sorted(
        ["seed", "absent", *gain_prediction.PREDICTORS, *gain_prediction.OUTCOMES, "n"]
    )
    shift_seen = torch.stack([mean / mean.norm() - rows[c] / rows[c].norm() for c, mean in means.items()]).mean(0)
    for row, c in zip(table.itertuples(), split.absent):
        best = best_images(digits, spec, c)
        assert row.head_cosine == pytest.approx(max(cosine(rows[c], rows[s]) for s in split.seen))
        assert row.feature_cosine == pytest.approx(
            np.mean([max(cosine(pool.features[i], mean) for mean in means.values()) for i in best])
        )
        odds = [pool.logits[i].exp() for i in best]
        assert row.confidence == pytest.approx(np.mean([float(e[c] / e[list(split.absent)].sum()) for e in odds]))
        own = normalize(pool.features[best], dim=1).mean(0)
        assert row.shift_agreement == pytest.approx(cosine(own / own.norm() - rows[c] / rows[c].norm(), shift_seen))


def test_first_order_is_what_a_small_step_does_to_the_margin(digits, spec, network):
    table, rows, split = gain_prediction.by_class(digits, spec), head_rows(spec), digits.split(spec)
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

    best = {
        c: pictures(digits, digits.outputs(spec, 0, "test").index[best_images(digits, spec, c)]) for c in split.absent
    }
    with torch.no_grad():
        before = {c: mean_margin(c, images) for c, images in best.items()}
        for value, slope in zip(theta, slopes):
            value -= eta * slope
        real = [(mean_margin(c, images) - before[c]) / eta for c, images in best.items()]
    assert table["first_order"].to_list() == pytest.approx(real, rel=1e-3, abs=1e-3)


def test_the_kernel_is_that_of_single_sample_gradients(digits, spec, network):
    """With the same probes and the first few images of every seen class."""
    table, split, train = gain_prediction.by_class(digits, spec), digits.split(spec), digits.outputs(spec, 0, "train")
    theta = [value for name, value in network.named_parameters() if not name.startswith("head.")]
    probes = torch.randn(
        gain_prediction.PROBES, 64, generator=generator_for("probes", spec.run_id), dtype=torch.float64
    )

    def slopes(index):
        features = features_and_logits(network, pictures(digits, index[None]))[0][0]
        parts = [torch.autograd.grad(features @ probe, theta, retain_graph=True) for probe in probes]
        return torch.stack([torch.cat([part.flatten() for part in each]) for each in parts])

    examples = {
        c: torch.stack([slopes(i) for i in train.index[train.labels == c][: gain_prediction.EXAMPLES]])
        for c in split.seen
    }
    for row, c in zip(table.itertuples(), split.absent):
        own = slopes(digits.outputs(spec, 0, "test").index[best_images(digits, spec, c)[0]])
        values = [
            float(
                (own * theirs.mean(0)).sum(1).mean()
                / (own.square().sum(1).mean() * theirs.square().sum(2).mean()).sqrt()
            )
            for theirs in examples.values()
        ]
        assert row.kernel == pytest.approx(max(values))


def test_outcomes_by_loops(digits, spec):
    """NCM with means of all training images: accuracy and mean margin of each class, after less before."""
    table, found = gain_prediction.by_class(digits, spec), []
    for epoch in (0, spec.epochs):
        train, test = (digits.outputs(spec, epoch, part) for part in ("train", "test"))
        means = torch.stack([normalize(train.features[train.labels == c], dim=1).mean(0) for c in range(10)])
        cosines = cosine_similarity(test.features[:, None], means, dim=2).numpy()
        by_class = []
        for c in digits.split(spec).absent:
            mine = [row for row, y in zip(cosines, test.labels.tolist()) if y == c]
            by_class.append(
                (
                    np.mean([row.argmax() == c for row in mine]),
                    np.mean([row[c] - np.delete(row, c).max() for row in mine]),
                    len(mine),
                )
            )
        found.append(np.array(by_class))
    assert np.allclose(table[["ncm_gain", "margin_gain"]], found[1][:, :2] - found[0][:, :2], atol=1e-12)
    assert table["start"].to_list() == pytest.approx(found[0][:, 0].tolist())
    assert table["n"].tolist() == found[0][:, 2].tolist()


def test_predictors_see_no_absent_label_and_no_absent_training_image(digits, spec, monkeypatch, tmp_path):
    """Test labels permuted, stored outputs and images of absent training samples spoilt: predictions stay, outcomes
    change.
    """
    clean, real = gain_prediction.by_class(digits, spec), type(digits).outputs
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
    monkeypatch.setattr(paths, "run_prediction", lambda *_: tmp_path / "prediction")
    dirty = gain_prediction.by_class(digits, spec)
    assert (tmp_path / "prediction").exists()
    oracles = ["start", *gain_prediction.OUTCOMES]
    same = list(clean.columns.difference(oracles))
    assert {"kernel", "first_order", "feature_cosine"} < set(same)
    pd.testing.assert_frame_equal(clean[same], dirty[same], check_exact=True)
    assert (clean[oracles] != dirty[oracles]).all(axis=None)


def test_absent_classes_without_test_samples_are_left_out(digits, spec, monkeypatch):
    full, real, gone = gain_prediction.by_class(digits, spec), type(digits).outputs, digits.split(spec).absent[1]

    def relabelled(self, spec, epoch, part):
        found = real(self, spec, epoch, part)
        return (
            replace(found, labels=torch.where(found.labels == gone, digits.split(spec).seen[0], found.labels))
            if part == "test"
            else found
        )

    monkeypatch.setattr(type(digits), "outputs", relabelled)
    table = gain_prediction.by_class(digits, spec)
    pd.testing.assert_frame_equal(table, full[full["absent"] != digits.manifest.class_names[gone]])


def test_the_expensive_part_is_made_once(digits, spec, monkeypatch):
    first = gain_prediction.by_class(digits, spec)
    monkeypatch.setattr(gain_prediction, "load_before_after", None)  # a second computation would fail
    pd.testing.assert_frame_equal(gain_prediction.by_class(digits, spec), first)
    monkeypatch.setattr(gain_prediction, "EXAMPLES", 2)
    with pytest.raises(TypeError):
        gain_prediction.by_class(digits, spec)  # another question is not answered by the stored one


def nearest_seen(spec, seen):
    """The mean over the other classes of the largest cosine of their head row with a seen one."""
    rows = head_rows(spec)
    return np.mean([max(cosine(rows[c], rows[s]) for s in seen) for c in range(10) if c not in seen])


def test_dissimilar_classes_lie_at_one_end_and_leave_the_absent_ones_alone(digits, monkeypatch):
    monkeypatch.setattr(type(digits), "outputs", None)  # it looks at no data
    chosen = gain_prediction.dissimilar_seen(digits)
    places = [digits.manifest.class_names.index(name) for name in chosen]
    assert len(chosen) == len(digits.split(digits.specs[0]).seen) and places == sorted(set(places))
    along = PCA(1).fit_transform(normalize(head_rows(digits.specs[0]), dim=1).numpy())[:, 0]
    ends = [set(np.argsort(sign * along)[:5].tolist()) for sign in (1, -1)]
    assert set(places) in ends
    every_choice = [nearest_seen(digits.specs[0], seen) for seen in combinations(range(10), 5)]
    assert nearest_seen(digits.specs[0], places) < np.median(every_choice)
    assert gain_prediction.dissimilar_seen(replace(digits, specs=digits.specs[::-1])) == chosen, (
        "all seeds start from one network"
    )


def test_the_main_direction_is_that_of_the_spread_of_head_rows(digits, monkeypatch):
    """Not of their mean, which all of them share; and the scale of a row does not matter."""
    weight = torch.randn(10, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 3
    weight[[1, 4, 6]] += 2 * torch.linspace(-1, 1, 64)
    monkeypatch.setattr(
        type(digits), "head", lambda self, spec, epoch: (weight * torch.arange(1, 11)[:, None], torch.zeros(10))
    )
    along = PCA(1).fit_transform(normalize(weight, dim=1).numpy())[:, 0]
    chosen = {int(name) for name in gain_prediction.dissimilar_seen(digits)}
    assert chosen in [set(np.argsort(sign * along)[:5].tolist()) for sign in (1, -1)]


def test_the_designed_study_is_the_same_recipe_on_other_classes(digits):
    other, spec = gain_prediction.dissimilar_runs(digits), digits.specs[0]
    assert execute.state(other.specs[0].run_id) == "done"
    assert other.specs == (replace(spec, seen=gain_prediction.dissimilar_seen(digits), record_every=spec.epochs),)
    assert {digits.manifest.class_names[c] for c in other.split(other.specs[0]).seen} == set(
        gain_prediction.dissimilar_seen(digits)
    )
    assert (other.manifest, other.device) == (digits.manifest, digits.device)
    trained = set(other.fine_tuning_outputs(other.specs[0], 0).labels.tolist())
    assert trained == set(other.split(other.specs[0]).seen)


def test_the_comparison_of_splits_holds_both_studies_numbers(digits):
    other = gain_prediction.dissimilar_runs(digits)
    table = gain_prediction.compare_splits(digits, other)
    assert table.groupby("seen", sort=False)["metric"].apply(list).to_dict() == {
        seen: ["head_cosine", "acc_uy", "acc_uu", "ncm_acc_uy", "ausuc"] for seen in ("random", "dissimilar")
    }
    for seen, one, spec in (("random", digits, digits.specs[0]), ("dissimilar", other, other.specs[0])):
        rows = table[table["seen"] == seen].set_index("metric")
        assert rows.loc["head_cosine", "before"] == pytest.approx(nearest_seen(spec, one.split(spec).seen))
        assert math.isnan(rows.loc["head_cosine", "after"])
        ends = (
            accuracy.checkpoints_only(one, accuracy.metrics_by_epoch(one))
            .query(f"seed == {spec.seed}")
            .set_index(["metric", "checkpoint"])["value"]
        )
        for metric in rows.index[1:]:
            before, after = ends[metric, run_set.PRE_TRAINED], ends[metric, run_set.FINE_TUNED]
            assert rows.loc[metric, ["before", "after", "change"]].tolist() == [before, after, after - before]


@pytest.fixture
def classes():
    """Tables as `by_class` makes them, of 12 and 9 classes."""
    random = np.random.default_rng(0)
    columns = [*gain_prediction.PREDICTORS, *gain_prediction.OUTCOMES]
    return [
        pd.DataFrame(random.normal(size=(n, len(columns))), columns=columns).assign(
            seed=seed, absent=[f"c{i}" for i in range(n)], n=5
        )
        for seed, n in ((0, 12), (1, 9))
    ]


def test_correlations_are_means_over_seeds(classes):
    classes[1]["confidence"] = -classes[1]["ncm_gain"].rank()
    table = gain_prediction.correlations(classes)
    assert list(zip(table["predictor"], table["outcome"])) == [
        (p, o) for p in gain_prediction.PREDICTORS for o in gain_prediction.OUTCOMES
    ]
    for row in table.itertuples():
        expected = np.mean([stats.spearmanr(part[row.predictor], part[row.outcome]).statistic for part in classes])
        assert row.mean == pytest.approx(expected) and -1 - 1e-12 <= row.low < row.mean < row.high <= 1 + 1e-12
    assert (table["n_classes"] == 9).all() and (table["n_seeds"] == 2).all()
    pd.testing.assert_frame_equal(gain_prediction.correlations(classes), table)


def test_both_splits_are_told_apart(classes):
    table = gain_prediction.both_splits(classes, classes[:1])
    for split, part in (("random", classes), ("dissimilar", classes[:1])):
        rows = table[table["split"] == split].drop(columns="split").reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, gain_prediction.correlations(part))


def test_tidy_keeps_every_number(classes):
    table = gain_prediction.tidy(classes, classes[:1])
    assert list(table.columns) == ["split", "seed", "absent", "n", "quantity", "value"]
    assert len(table) == (12 + 9 + 12) * (len(gain_prediction.PREDICTORS) + len(gain_prediction.OUTCOMES))
    found = table.set_index(["split", "seed", "absent", "quantity"])["value"].sort_index()
    assert found.index.is_unique
    assert found["random", 1, "c8", "kernel"] == classes[1]["kernel"].iloc[8]
    assert found["dissimilar", 0, "c3", "ncm_gain"] == classes[0]["ncm_gain"].iloc[3]
