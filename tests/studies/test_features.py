import re

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from torch.nn.functional import normalize

from analysis_lib.analysis.metrics import METRICS, feature_drift, feature_space, head_weights
from analysis_lib.analysis.metrics.accuracy import accuracies
from analysis_lib.analysis.metrics.linear_probe import linear_probe_scores
from analysis_lib.core import files, paths
from analysis_lib.core.seeds import seed_for
from analysis_lib.runs.run_set import FINE_TUNED, PRE_TRAINED
from analysis_lib.studies import features, head


def values(table, spec, epoch):
    rows = table[(table["seed"] == spec.seed) & (table["epoch"] == epoch)]
    assert rows["metric"].is_unique
    return dict(zip(rows["metric"], rows["value"]))


def absent_rows(study, spec, epoch):
    """Logits and labels of the test samples of absent classes, as stored, and their features."""
    test, absent = study.outputs(spec, epoch, "test"), study.split(spec).absent
    rows = torch.tensor([int(y) in absent for y in test.labels])
    return test.logits[rows], test.labels[rows], test.features[rows]


def test_head_values_are_those_of_the_pure_functions(digits):
    spec, epoch = digits.specs[1], 3
    split, test = digits.split(spec), digits.outputs(spec, epoch, "test")
    start, now = (files.read_tensors(paths.run_head(spec.run_id, e)) for e in (0, epoch))
    found = values(head.head_by_epoch(digits), spec, epoch)
    expected = (
        head_weights.head_norms(now["weight"], now["bias"], split)
        | head_weights.feature_norms(test.features, test.labels, split)
        | head_weights.logit_gap(now["weight"], now["bias"], absent_rows(digits, spec, epoch)[2], split)
        | feature_drift.absent_logits(test.logits, test.labels, split)
    )
    for group, classes in (("s", split.seen), ("u", split.absent)):
        changed = head_weights.relation_change(start["weight"], now["weight"], classes)
        expected |= {f"{name}_{group}": value for name, value in changed.items()}
    assert {name: found[name] for name in expected} == expected


def test_the_parts_of_the_gap_sum_to_what_the_stored_logits_say(digits):
    table = head.head_by_epoch(digits)
    for spec in digits.specs:
        for epoch in range(spec.epochs + 1):
            found, logits = values(table, spec, epoch), absent_rows(digits, spec, epoch)[0]
            seen, absent = ([c for c in range(10) if (c in digits.split(spec).seen) == side] for side in (True, False))
            gap = np.mean([row[seen].mean() - row[absent].mean() for row in logits.numpy()])
            assert found["norm_part"] + found["angle_part"] + found["bias_part"] == pytest.approx(gap, abs=1e-10)
            assert found["gap"] == pytest.approx(gap, abs=1e-10)


def test_logits_of_absent_samples_by_loops(digits):
    table = head.head_by_epoch(digits)
    for spec, epoch in ((digits.specs[0], 0), (digits.specs[1], 4)):
        split, found = digits.split(spec), values(table, spec, epoch)
        rows = []
        for logits, label, _ in zip(*absent_rows(digits, spec, epoch)):
            others = [float(logits[c]) for c in split.absent if c != label]
            rows.append((float(logits[label]), max(others), max(float(logits[c]) for c in split.seen)))
        assert [found[name] for name in ("logit_true", "logit_other_absent", "logit_seen")] == pytest.approx(
            np.mean(rows, 0).tolist()
        )


def test_updates_are_those_since_the_pre_trained_head(digits):
    table, spec = head.head_by_epoch(digits), digits.specs[0]
    split = digits.split(spec)
    for epoch in (1, 4):
        moves = np.subtract(*(files.read_tensors(paths.run_head(spec.run_id, e))["weight"].numpy() for e in (epoch, 0)))
        matrix = np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in moves] for a in moves])
        pairs = {"ss": (split.seen, split.seen), "uu": (split.absent, split.absent), "su": (split.seen, split.absent)}
        means = {
            name: np.mean([matrix[a, b] for a in first for b in second if a != b])
            for name, (first, second) in pairs.items()
        }
        found = values(table, spec, epoch)
        assert [found[f"update_{name}"] for name in means] == pytest.approx(list(means.values()))
        assert found["update_uu - update_su"] == pytest.approx(means["uu"] - means["su"])
    assert np.allclose(head.update_similarity(digits, spec), matrix)


def test_every_seed_and_epoch_has_a_row_and_the_first_has_no_update(digits):
    tables = {
        "update_|relation_": head.head_by_epoch(digits),
        "displacement|cosine|cka|motion": features.features_by_epoch(digits),
    }
    for against_start, table in tables.items():
        assert (
            list(table.columns) == ["seed", "epoch", "metric", "value"]
            and not table.duplicated(["seed", "epoch", "metric"]).any()
        )
        assert table["value"].notna().all()
        names = {key: set(rows["metric"]) for key, rows in table.groupby(["seed", "epoch"])}
        assert set(names) == {(seed, epoch) for seed in (0, 1) for epoch in range(5)}
        later = {name for name in names[0, 1] if re.match(against_start, name)}
        assert len(later) >= 6 and all(
            found == names[0, 1] - (later if epoch == 0 else set()) for (_, epoch), found in names.items()
        )


def test_differences_of_head_values_are_differences(digits):
    wide = head.head_by_epoch(digits).pivot(index=["seed", "epoch"], columns="metric", values="value")
    differences = [name for name in wide.columns if " - " in name]
    assert "weight_norm_s - weight_norm_u" in differences and len(differences) >= 2
    for name in differences:
        first, second = name.split(" - ")
        assert wide[name].to_list() == pytest.approx((wide[first] - wide[second]).to_list(), nan_ok=True)


def unit_means(outputs):
    """The direction of each class: the mean of its unit features, at unit length; one class at a time."""
    unit = outputs.features / outputs.features.norm(dim=1, keepdim=True)
    means = torch.stack([unit[outputs.labels == c].mean(0) for c in range(10)])
    return means / means.norm(dim=1, keepdim=True)


def test_feature_values_are_those_of_the_pure_functions(digits):
    spec, epoch = digits.specs[0], 2
    split = digits.split(spec)
    first, (train, test) = (
        digits.outputs(spec, 0, "test"),
        (digits.outputs(spec, epoch, part) for part in ("train", "test")),
    )
    found = values(features.features_by_epoch(digits), spec, epoch)
    expected = feature_drift.displacement(first.features, test.features, test.labels, split)
    expected["cka"] = feature_space.linear_cka(first.features, test.features)
    spread = feature_drift.dispersion(train.features, train.labels, test.features, test.labels, split)
    expected |= {"_".join(row[:3]): row[3] for row in spread.itertuples(index=False)}
    assert {name: found[name] for name in expected} == expected and len(spread) == 16


def test_displacement_counts_from_the_start_and_motion_from_the_epoch_before(digits):
    table = features.features_by_epoch(digits)
    for spec, epoch in ((digits.specs[0], 1), (digits.specs[1], 4)):
        found, split = values(table, spec, epoch), digits.split(spec)
        start, now = (digits.outputs(spec, e, "test") for e in (0, epoch))
        lengths = [float((b - a).norm()) for a, b in zip(start.features, now.features)]
        groups = {"s": split.seen, "u": split.absent}
        for group, classes in groups.items():
            mine = [length for length, y in zip(lengths, now.labels.tolist()) if y in classes]
            assert found[f"displacement_{group}"] == pytest.approx(np.mean(mine))
        for part in ("train", "test"):
            before, after = (unit_means(digits.outputs(spec, e, part)) for e in (epoch - 1, epoch))
            for group, classes in (groups | {"y": range(10)}).items():
                moved = np.mean([float((after[c] - before[c]).norm()) for c in classes])
                assert found[f"motion_{group}_{part}"] == pytest.approx(moved)


def test_spread_is_measured_from_training_means(digits):
    spec, epoch = digits.specs[1], 4
    split, means = digits.split(spec), unit_means(digits.outputs(spec, epoch, "train"))
    test = digits.outputs(spec, epoch, "test")
    unit = normalize(test.features, dim=1)
    distances = [float((f - means[y]).norm()) for f, y in zip(unit, test.labels) if int(y) in split.absent]
    assert values(features.features_by_epoch(digits), spec, epoch)["test_u_class"] == pytest.approx(np.mean(distances))


def test_the_space_is_measured_at_every_checkpoint(digits):
    table = features.space_by_checkpoint(digits).set_index(["seed", "checkpoint", "metric"])["value"].sort_index()
    assert table.index.is_unique and len(table) == 2 * 3 * 4
    for spec in digits.specs:
        for checkpoint, epoch in ((PRE_TRAINED, 0), (FINE_TUNED, spec.epochs)):
            train, test = (digits.outputs(spec, epoch, part) for part in ("train", "test"))
            found = table[spec.seed, checkpoint]
            assert found["separability"] == feature_drift.separability(
                train.features, train.labels, test.features, test.labels, digits.split(spec)
            )
            centred = test.features - test.features.mean(0)
            variances = torch.linalg.eigvalsh(centred.T @ centred)
            assert found["rank"] == int(torch.linalg.matrix_rank(centred))
            assert found["participation_ratio"] == pytest.approx(float(variances.sum() ** 2 / variances.square().sum()))


@pytest.fixture
def pictures(digits, monkeypatch, tmp_path):
    """Views kept elsewhere, and UMAP and t-SNE, which take long and have their own tests, replaced by something that
    shows its arguments.
    """
    monkeypatch.setattr(paths, "run_views", lambda run_id: tmp_path / f"{run_id}.safetensors")
    for place, name in enumerate(("joint_umap", "joint_tsne")):
        columns = slice(2 * place, 2 * place + 2)
        monkeypatch.setattr(
            feature_space,
            name,
            lambda before, after, seed, columns=columns: (before[:, columns] + seed, after[:, columns] - seed),
        )
    return digits


def test_views_hold_every_test_sample_twice_and_are_made_once(pictures, monkeypatch):
    spec = pictures.specs[0]
    table = features.views(pictures, spec)
    assert list(table.columns) == ["view", "sample", "label", "group", "checkpoint", "x", "y"]
    test, split, body = pictures.outputs(spec, 0, "test"), pictures.split(spec), pictures.manifest.body
    wanted = [(view, end) for view in ("pca", "umap", "tsne") for end in (PRE_TRAINED, FINE_TUNED)]
    assert [key for key, _ in table.groupby(["view", "checkpoint"], sort=False)] == wanted
    for _, rows in table.groupby(["view", "checkpoint"]):
        assert rows["sample"].tolist() == body.index[body["split"] == "test"].tolist() == test.index.tolist()
        classes = body["label"].loc[rows["sample"]].tolist()
        assert rows["label"].tolist() == [pictures.manifest.class_names[c] for c in classes]
        assert (rows["group"] == "seen").tolist() == [c in split.seen for c in classes]
    for name in ("joint_pca", "joint_umap", "joint_tsne"):
        monkeypatch.setattr(feature_space, name, None)  # a second computation would fail
    pd.testing.assert_frame_equal(features.views(pictures, spec), table)
    with pytest.raises(TypeError):
        features.views(pictures, pictures.specs[1])


def test_views_are_of_unit_features_before_and_after(pictures):
    spec = pictures.specs[1]
    before, after = (normalize(pictures.outputs(spec, epoch, "test").features, dim=1) for epoch in (0, spec.epochs))
    points = {view: rows[["x", "y"]].to_numpy() for view, rows in features.views(pictures, spec).groupby("view")}
    plane = PCA(2).fit_transform(torch.cat([before, after]).numpy())
    assert np.allclose(points["pca"], np.sign((plane * points["pca"]).sum(0)) * plane, atol=1e-10)
    seed = seed_for("views", spec.run_id) % 2**32
    for view, columns in (("umap", [0, 1]), ("tsne", [2, 3])):
        assert np.array_equal(points[view], torch.cat([before[:, columns] + seed, after[:, columns] - seed]))


def test_the_head_offset_is_what_the_head_alone_adds_to_the_gap(digits):
    """The other rows are the chosen gammas of the fine-tuned model, untouched."""
    gammas = pd.DataFrame(
        [
            (seed, checkpoint, method, gamma, 0.5)
            for seed in (0, 1)
            for checkpoint, method, gamma in (
                (PRE_TRAINED, "alg", 7.0 + seed),
                (FINE_TUNED, "alg", 1.0 + seed),
                (FINE_TUNED, "pcv", 3.0 + seed),
            )
        ],
        columns=["seed", "checkpoint", "method", "gamma", "acc_yy"],
    )
    table = head.offsets(digits, gammas)
    assert list(table.columns) == ["seed", "quantity", "value"] and len(table) == 2 * 3
    found = table.set_index(["seed", "quantity"])["value"]
    for spec in digits.specs:
        split, (logits, _, features) = digits.split(spec), absent_rows(digits, spec, spec.epochs)
        start = files.read_tensors(paths.run_head(spec.run_id, 0))
        # the logits as stored, less those of the old head on the new features
        change = logits - (features @ start["weight"].T + start["bias"])
        offset = np.mean([float(row[list(split.seen)].mean() - row[list(split.absent)].mean()) for row in change])
        assert found[spec.seed, "head offset"] == pytest.approx(offset)
        assert (found[spec.seed, "alg"], found[spec.seed, "pcv"]) == (1.0 + spec.seed, 3.0 + spec.seed)


def test_absent_samples_lose_ground_on_digits(digits):
    """The phenomenon: the gap on absent samples grows, and head rows of absent classes move alike."""
    wide = head.head_by_epoch(digits).pivot(index=["seed", "metric"], columns="epoch", values="value")
    assert (wide.xs("gap", level="metric")[4] > wide.xs("gap", level="metric")[0] + 1).all()
    assert (wide.xs("update_uu - update_su", level="metric")[4] > 0.5).all()


def test_the_linear_probe_is_fitted_on_training_features_of_all_classes_and_cached(digits, monkeypatch):
    table = features.linear_probe_by_checkpoint(digits)
    assert set(table["metric"]) <= set(METRICS) and len(table) == 2 * 3 * 5
    spec = digits.specs[1]
    for checkpoint, (run, epoch) in digits.checkpoints(spec).items():
        train, test = digits.outputs(run, epoch, "train"), digits.outputs(run, epoch, "test")
        scores = linear_probe_scores(train.features, train.labels, test.features, 10)
        rows = table[(table["seed"] == spec.seed) & (table["checkpoint"] == checkpoint)]
        expected = {f"probe_{key}": value for key, value in accuracies(scores, test.labels, digits.split(spec)).items()}
        assert dict(zip(rows["metric"], rows["value"])) == expected
    absent = table[table["metric"] == "probe_acc_uy"]["value"]
    assert (absent > 0.8).all(), "labels of absent classes make them easy here"
    monkeypatch.setattr(features, "linear_probe_scores", None)
    pd.testing.assert_frame_equal(features.linear_probe_by_checkpoint(digits), table)
