import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.decomposition import PCA
from torch.func import functional_call
from torch.nn.functional import cosine_similarity, cross_entropy

from analysis_lib.analysis.influence import gradients
from analysis_lib.benchmarks import digits
from analysis_lib.benchmarks.images import load_images
from analysis_lib.core import paths
from analysis_lib.core.seeds import generator_for
from analysis_lib.models.backbone import features_and_logits
from analysis_lib.runs import execute
from analysis_lib.studies import first_step, gradient_features, one_target


@pytest.fixture
def spec(digits):
    return digits.specs[1]


@pytest.fixture
def network(spec):
    return execute.load_before_after(spec, "cpu")[0]


@pytest.fixture(scope="module")
def rendered():
    return digits.source_images()


@pytest.fixture
def printed(rendered, monkeypatch):
    """The source images of digits, rendered once for this file."""
    monkeypatch.setattr(first_step, "source_images", lambda manifest: (*rendered, torch.arange(len(rendered[1]))))
    return rendered[0]


def prepared(images):
    """uint8 images as the digits network sees them: from -1 to 1."""
    return (images.double() / 255 - 0.5) / 0.5


def pictures(study, index):
    return prepared(load_images(study.manifest)[index])


def tuning(study, spec):
    """Index and labels of the fine-tuning data, from the manifest alone."""
    labels, train = study.manifest.labels, study.manifest.rows("train")
    index = torch.tensor([i for i in train.tolist() if int(labels[i]) in study.split(spec).seen])
    return index, labels[index]


def backbone(network):
    return {name: value for name, value in network.named_parameters() if not name.startswith("head.")}


def test_targets_are_test_samples_of_absent_classes(digits):
    drawn = []
    for spec in digits.specs:
        found = first_step.explain(digits, spec)
        rows = digits.manifest.body.iloc[digits.outputs(spec, 0, "test").index[found.rows].numpy()]
        assert len(rows) == first_step.TARGETS == rows["path"].nunique()
        assert (rows["split"] == "test").all() and set(rows["label"]) <= set(digits.split(spec).absent)
        assert rows["label"].nunique() >= 4 and found.rows.max() > 400, "they are drawn, not the first rows"
        assert found.classes.tolist() == list(digits.split(spec).seen)
        drawn.append(rows.index.tolist())
    assert drawn[0] != drawn[1]


def test_the_pulls_add_up_to_the_whole_step(digits, spec, network):
    found, (index, labels) = first_step.explain(digits, spec), tuning(digits, spec)
    step = gradients.backbone_step(network, pictures(digits, index), labels)
    targets = pictures(digits, digits.outputs(spec, 0, "test").index[found.rows])
    whole = gradients.predicted_displacement(network, targets, step)
    assert found.pulls.shape == (5, first_step.TARGETS, 64) and found.pulls.dtype == torch.float64
    assert (found.step - whole).norm() < 1e-8 * whole.norm()
    assert (found.pulls.norm(dim=2) > 1e-3 * found.step.norm(dim=1)).all(), "every class has its share"


def test_a_pull_is_what_a_small_step_on_its_class_does(digits, spec, network):
    found, (index, labels) = first_step.explain(digits, spec), tuning(digits, spec)
    targets, theta, eta = pictures(digits, digits.outputs(spec, 0, "test").index[found.rows]), backbone(network), 1e-8
    for c, pull in zip(found.classes, found.pulls):
        own = labels == c
        loss = cross_entropy(network(pictures(digits, index[own])), labels[own], reduction="sum") / len(labels)
        slopes = torch.autograd.grad(loss, list(theta.values()))
        with torch.no_grad():
            before = features_and_logits(network, targets)[0]
            for value, slope in zip(theta.values(), slopes):
                value -= eta * slope
            real = (features_and_logits(network, targets)[0] - before) / eta
            for value, slope in zip(theta.values(), slopes):
                value += eta * slope
        assert (real - pull).norm() < 1e-4 * pull.norm()


def test_the_kernel_is_that_of_products_with_single_gradients(digits, spec, network):
    """Along the same directions; one image and one output at a time, by another road through torch."""
    found, (index, labels) = first_step.explain(digits, spec), tuning(digits, spec)
    theta = {name.removeprefix("blocks."): value.detach() for name, value in backbone(network).items()}
    streams = [generator_for("kernel direction", spec.init, r) for r in range(gradient_features.DIRECTIONS)]
    directions = []
    for stream in streams:
        signs = [2 * torch.randint(2, value.shape, generator=stream) - 1 for value in theta.values()]
        directions.append([each.double() for each in signs])

    def along(image):
        """J(x) r of one image for each direction, (R, D): the derivative of d output / d theta products."""
        outputs = functional_call(network.blocks, leaves, (image[None],)).mean((0, 2, 3))
        rows = [torch.autograd.grad(value, list(leaves.values()), retain_graph=True) for value in outputs]
        return torch.stack(
            [
                torch.stack([sum((g * r).sum() for g, r in zip(row, direction)) for row in rows])
                for direction in directions
            ]
        )

    leaves = {name: value.clone().requires_grad_() for name, value in theta.items()}
    targets, column = [0, 11], 2
    ours = torch.stack([along(x) for x in pictures(digits, digits.outputs(spec, 0, "test").index[found.rows[targets]])])
    own = pictures(digits, index[labels == found.classes[column]])
    theirs = torch.stack([along(x) for x in own])
    raw = (ours * theirs.mean(0)).sum(2)  # (targets, R)
    scale = (ours.square().sum(2).mean(1) * theirs.square().sum(2).mean()).sqrt()
    similarity, error = first_step.kernel(digits, spec)
    assert similarity.shape == error.shape == (first_step.TARGETS, 5)
    assert torch.allclose(similarity[targets, column], raw.mean(1) / scale, rtol=1e-8)
    assert torch.allclose(error[targets, column], raw.std(1) / len(directions) ** 0.5 / scale, rtol=1e-8)
    assert similarity.amax() <= 1


def test_the_explanation_is_made_once(digits, spec, monkeypatch):
    first, similarity = first_step.explain(digits, spec), first_step.kernel(digits, spec)[0]
    step = gradient_features.displacement(digits, spec)
    for place in (first_step, gradient_features):
        monkeypatch.setattr(place, "load_before_after", None)  # a second computation would fail
    again = first_step.explain(digits, spec)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(vars(first).values(), vars(again).values()))
    assert torch.equal(similarity, first_step.kernel(digits, spec)[0])
    assert torch.equal(step, gradient_features.displacement(digits, spec))
    other = digits.specs[0]  # the tangents are those of the pre-trained network, and serve every run
    assert torch.equal(gradient_features.tangents(digits, spec), gradient_features.tangents(digits, other))
    monkeypatch.setattr(first_step, "TARGETS", 5)
    with pytest.raises(TypeError):
        first_step.explain(digits, spec)  # another question is not answered by the stored one


def test_the_stored_step_and_displacement_are_those_of_the_fine_tuning_data(digits, spec, network):
    index, labels = tuning(digits, spec)
    step = gradients.backbone_step(network, pictures(digits, index), labels)
    stored = gradient_features.first_step(digits, spec)
    assert stored.keys() == step.keys() and all(torch.allclose(stored[name], step[name]) for name in step)
    moved = gradient_features.displacement(digits, spec)
    assert moved.shape == digits.outputs(spec, 0, "test").features.shape
    found = first_step.explain(digits, spec)
    assert torch.allclose(moved[found.rows], found.step, rtol=1e-8, atol=1e-10)


def test_the_permuted_step_has_the_same_images_and_other_labels(digits, spec, network):
    found, (index, labels) = first_step.explain(digits, spec), tuning(digits, spec)
    order = torch.randperm(len(labels), generator=generator_for("permuted labels", "digits", spec.seed))
    assert 0.1 < (labels[order] == labels).double().mean() < 0.3, "of five classes, a fifth stay by chance"
    images, theta, eta = pictures(digits, index), backbone(network), 1e-8
    slopes = torch.autograd.grad(cross_entropy(network(images), labels[order]), list(theta.values()))
    test = digits.outputs(spec, 0, "test")
    targets = pictures(digits, test.index[torch.cat([found.rows, found.seen_rows])])
    with torch.no_grad():
        before = features_and_logits(network, targets)[0]
        for value, slope in zip(theta.values(), slopes):
            value -= eta * slope
        real = (features_and_logits(network, targets)[0] - before) / eta
    permuted = torch.cat([found.permuted, found.seen_permuted])
    assert (real - permuted).norm() < 1e-4 * permuted.norm()


def test_seen_targets_are_measured_alike(digits, spec):
    found, table = first_step.explain(digits, spec), first_step.seen_targets(digits, spec)
    start, end = (digits.outputs(spec, epoch, "test").where(found.seen_rows) for epoch in (0, spec.epochs))
    assert len(table) == first_step.TARGETS == table["target"].nunique()
    assert table["seen"].tolist() == [digits.manifest.class_names[y] for y in start.labels]
    assert set(start.labels.tolist()) <= set(digits.split(spec).seen)
    whole = end.features - start.features
    step = gradient_features.displacement(digits, spec)[found.seen_rows]
    for column, motion in (("lasting_seen", step), ("lasting_seen_permuted", found.seen_permuted)):
        assert table[column].to_list() == pytest.approx(cosine_similarity(motion, whole, dim=1).tolist())


def test_the_explanation_sees_no_training_image_of_an_absent_class(digits, spec, monkeypatch, tmp_path):
    """Neither the images nor what is stored of them; with the fine-tuning data replaced instead, the answer is
    another.
    """
    monkeypatch.setattr(first_step, "TARGETS", 3)
    monkeypatch.setattr(gradient_features, "DIRECTIONS", 2)
    real, every, labels = type(digits).outputs, type(digits).fine_tuning_outputs, digits.manifest.labels
    # an eighth is enough
    monkeypatch.setattr(type(digits), "fine_tuning_outputs", lambda *args: every(*args).where(slice(None, None, 8)))
    train = torch.tensor(digits.manifest.body["split"].eq("train").to_numpy())
    images, seen = load_images(digits.manifest), digits.split(spec).is_seen(labels)

    def explained(name, rows):
        noise = torch.randint(256, images.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        poisoned = torch.where(rows[:, None, None, None], noise, images)

        def outputs(self, spec, epoch, part):
            found = real(self, spec, epoch, part)
            found.features[rows[found.index]] = found.logits[rows[found.index]] = torch.nan
            return found

        monkeypatch.setattr("analysis_lib.runs.run_set.load_images", lambda manifest: poisoned)
        monkeypatch.setattr(type(digits), "outputs", outputs)
        monkeypatch.setattr(paths, "run_first_step", lambda *_: tmp_path / name / "first_step")
        monkeypatch.setattr(paths, "tangents", lambda *_: tmp_path / name / "tangents")
        similarity, _ = first_step.kernel(digits, spec)
        return vars(first_step.explain(digits, spec)) | {"kernel": similarity}

    clean, absent, tuned = (
        explained(name, rows & train) for name, rows in (("clean", seen & ~seen), ("absent", ~seen), ("tuned", seen))
    )
    assert all(torch.equal(clean[name], absent[name]) for name in clean)
    for name in ("pulls", "permuted", "kernel"):
        assert not torch.allclose(clean[name], tuned[name])


def test_the_prediction_of_one_step_is_good(digits, network):
    """M1. The smaller the step, the better; while ReLU units change side, only on average."""
    for spec in digits.specs:
        table = first_step.step_check(digits, spec, steps=12)
        assert table["eta"].tolist() == [spec.lr / 4**k for k in range(12)] and (table["seed"] == spec.seed).all()
        assert (table["cosine"][1:].to_numpy() > table["cosine"][:-1]).all() and table["cosine"].iloc[-1] > 1 - 1e-6
        assert table["relative_error"].iloc[-1] < table["relative_error"].iloc[0] / 4**8
    index, labels = tuning(digits, spec)
    test = digits.outputs(spec, 0, "test")
    absent = pictures(digits, test.index[[int(y) in digits.split(spec).absent for y in test.labels]])
    direct = gradients.step_check(
        network, absent, gradients.backbone_step(network, pictures(digits, index), labels), [spec.lr]
    )
    assert table[["cosine", "relative_error"]].iloc[0].to_list() == pytest.approx(
        direct[["cosine", "relative_error"]].iloc[0].to_list()
    )


def test_the_error_of_one_step_falls_linearly_for_a_smooth_network(digits, spec, network):
    """A quarter of the step, a quarter of the relative error: exact in the limit, and then off by the order of the
    step.
    """
    for place, module in enumerate(network.blocks):
        if isinstance(module, torch.nn.ReLU):
            network.blocks[place] = torch.nn.Softplus().eval()
    index, labels = tuning(digits, spec)
    step = gradients.backbone_step(network, pictures(digits, index), labels)
    etas = [1e-3 / 4**k for k in range(6)]
    errors = gradients.step_check(network, pictures(digits, index[:50]), step, etas)["relative_error"].to_numpy()
    assert abs(errors[:-1] / errors[1:] / 4 - 1) == pytest.approx(0, abs=10 * errors[0])
    assert errors[4] / errors[5] == pytest.approx(4, rel=10 * errors[4])


def test_influences_hold_every_target_with_every_seen_class(digits, spec, network):
    found, (index, labels), names = first_step.explain(digits, spec), tuning(digits, spec), digits.manifest.class_names
    table = first_step.influences(digits, spec)
    targets = digits.outputs(spec, 0, "test").index[found.rows]
    assert (
        len(table) == len(targets) * 5
        and not table.duplicated(["target", "seen"]).any()
        and (table["seed"] == spec.seed).all()
    )
    assert set(table["seen"]) == {names[c] for c in digits.split(spec).seen}
    assert table["absent"].tolist() == [names[digits.manifest.labels[i]] for i in table["target"]]
    features, _ = features_and_logits(network, pictures(digits, index))
    at_targets = features_and_logits(network, pictures(digits, targets))[0].detach()
    slopes = torch.autograd.grad(
        cross_entropy(network.head(leaf := features.detach().requires_grad_()), labels, reduction="sum"), leaf
    )[0]
    unit = (features / features.norm(dim=1, keepdim=True)).detach()
    similarity, error = first_step.kernel(digits, spec)
    for t in (0, 5, 23):
        rows = table[table["target"] == int(targets[t])].set_index("seen")
        for k, c in enumerate(found.classes.tolist()):
            row = rows.loc[names[c]]
            assert row["pull"] == pytest.approx(float(found.pulls[k, t].norm()))
            assert (row["kernel"], row["kernel_error"]) == (float(similarity[t, k]), float(error[t, k]))
            assert row["feature_cosine"] == pytest.approx(
                float(cosine_similarity(at_targets[t], unit[labels == c].mean(0), dim=0)), abs=1e-10
            )
            assert row["direction"] == pytest.approx(
                float(cosine_similarity(found.pulls[k, t], -slopes[labels == c].mean(0), dim=0)), abs=1e-10
            )


def margin(features, label, means):
    """Cosine with the own mean less the largest other one, by a loop."""
    cosines = [float(features @ mean / features.norm() / mean.norm()) for mean in means]
    return cosines[label] - max(value for c, value in enumerate(cosines) if c != label)


def means_of(outputs):
    unit = outputs.features / outputs.features.norm(dim=1, keepdim=True)
    return torch.stack([unit[outputs.labels == c].mean(0) for c in range(10)])


def test_the_columns_of_one_target_by_hand(digits, spec, network, printed, monkeypatch):
    monkeypatch.setattr(first_step, "TOP", 2)  # of five classes, the five of TOP are all
    found, influences, j = first_step.explain(digits, spec), first_step.influences(digits, spec), 7
    row = first_step.targets(digits, spec).iloc[j]
    start, end = (digits.outputs(spec, epoch, "test").where(found.rows) for epoch in (0, spec.epochs))
    label, step, own = int(start.labels[j]), found.step[j], influences[influences["target"] == int(start.index[j])]
    assert (row["seed"], row["target"], row["absent"]) == (1, int(start.index[j]), digits.manifest.class_names[label])
    for score, name in (("kernel", "kernel"), ("feature_cosine", "cosine")):
        assert row[f"share_{name}"] == pytest.approx(own.nlargest(2, score)["pull"].sum() / own["pull"].sum())
        usual = influences.groupby("seen")[["pull", score]].mean().loc[own["seen"]].to_numpy()
        assert row[f"rank_{name}"] == pytest.approx(
            stats.spearmanr(own["pull"] / usual[:, 0], own[score] - usual[:, 1]).statistic
        )
    assert row["share_chance"] == pytest.approx(2 / 5)
    assert row["nearest_seen"] == pytest.approx(own["feature_cosine"].max())
    means, at_end = (means_of(digits.outputs(spec, epoch, "train")) for epoch in (0, spec.epochs))
    before, eta = margin(start.features[j], label, means), 1e-7
    assert row["margin_change"] == pytest.approx(
        (margin(start.features[j] + eta * step, label, means) - before) / eta, rel=1e-4
    )
    assert row["margin_gain"] == pytest.approx(margin(end.features[j], label, at_end) - before)
    whole, null = end.features[j] - start.features[j], found.permuted[j]
    assert row["lasting"] == pytest.approx(float(cosine_similarity(step, whole, dim=0)))
    assert row["lasting_permuted"] == pytest.approx(float(cosine_similarity(null, whole, dim=0)))
    assert row["margin_change_permuted"] == pytest.approx(
        (margin(start.features[j] + eta * null, label, means) - before) / eta, rel=1e-4
    )
    for name in ("lasting", "margin_change"):
        assert row[f"{name} - {name}_permuted"] == pytest.approx(row[name] - row[f"{name}_permuted"])
    others = [float(cosine_similarity(step, other, dim=0)) for t, other in enumerate(found.step) if t != j]
    assert row["common"] == pytest.approx(np.mean(others))
    index, labels = tuning(digits, spec)
    head = list(network.head.parameters())
    weight, bias = torch.autograd.grad(cross_entropy(network(pictures(digits, index)), labels), head)
    change = -(weight @ start.features[j] + bias)
    split = digits.split(spec)
    assert row["head_offset"] == pytest.approx(
        float(change[list(split.absent)].mean() - change[list(split.seen)].mean())
    )
    assert row["along_shift"] == pytest.approx(
        float(cosine_similarity(step, first_step.domain_shift(digits, spec), dim=0))
    )


def test_concentration_is_asked_of_as_many_classes_as_there_are(digits, spec, printed, monkeypatch):
    monkeypatch.setattr(first_step, "TOP", 6)
    table = first_step.targets(digits, spec)
    assert table[["share_kernel", "share_cosine", "share_chance"]].to_numpy() == pytest.approx(1)


def test_target_means_are_means_with_intervals(digits, spec, printed):
    found, targets = first_step.explain(digits, spec), first_step.targets(digits, spec)
    table = first_step.target_means(digits, spec).set_index("metric")
    seen = first_step.seen_targets(digits, spec)[["lasting_seen", "lasting_seen_permuted"]]
    every = pd.concat([targets.drop(columns=["seed", "target", "absent"]), seen], axis=1)
    assert table.index.is_unique and set(table.index) == set(every.columns)
    assert table["mean"].to_list() == pytest.approx(every[table.index].mean().to_list())
    assert (table["low"] <= table["mean"]).all() and (table["mean"] <= table["high"]).all()
    assert (table["n_samples"] == first_step.TARGETS).all() and (table["n_seeds"] == 1).all()
    classes = targets["absent"].unique()
    n = len(classes)
    left_out = [targets.loc[targets["absent"] != c, "lasting"].mean() for c in classes]
    cosines = cosine_similarity(found.step[:, None], found.step, dim=2).numpy()
    pairs = []  # the mean over pairs of the targets of the other classes
    for c in classes:
        rest = cosines[np.ix_(targets["absent"] != c, targets["absent"] != c)]
        pairs.append(rest[~np.eye(len(rest), dtype=bool)].mean())
    for metric, without in (("lasting", left_out), ("common", pairs)):
        error = ((n - 1) / n * np.sum((np.array(without) - targets[metric].mean()) ** 2)) ** 0.5
        half = stats.t.ppf(0.975, n - 1) * error
        assert table.loc[metric, ["low", "high"]].to_list() == pytest.approx(
            [targets[metric].mean() - half, targets[metric].mean() + half]
        )


def test_a_benchmark_without_source_images_has_no_domain_shift(digits, spec, monkeypatch):
    monkeypatch.setattr(first_step, "source_images", lambda benchmark: None)
    assert first_step.domain_shift(digits, spec).isnan().all()
    assert first_step.targets(digits, spec)["along_shift"].isna().all()
    assert "along_shift" not in set(first_step.target_means(digits, spec)["metric"])


def test_the_domain_shift_is_between_fine_tuning_and_source_images(digits, spec, network, printed):
    target = load_images(digits.manifest)[tuning(digits, spec)[0]]
    with torch.no_grad():
        centres = [network.blocks(prepared(images)).mean((2, 3)).mean(0) for images in (target, printed)]
    assert torch.allclose(first_step.domain_shift(digits, spec), centres[0] - centres[1], rtol=0, atol=1e-10)


def test_the_most_influential_classes_are_those_of_the_largest_pulls(digits, spec):
    found, target, names = first_step.explain(digits, spec), 4, digits.manifest.class_names
    shown, titles = one_target.most_influential(digits, spec, target, most=2)
    sizes = {int(c): float(pull[target].norm()) for c, pull in zip(found.classes, found.pulls)}
    first, second = sorted(sizes, key=sizes.get, reverse=True)[:2]
    test = digits.outputs(spec, 0, "test").where(found.rows)
    shares = [f"{names[c]}, {100 * sizes[c] / sum(sizes.values()):.0f}%" for c in (first, second)]
    assert titles == [f"{names[test.labels[target]]} (absent)", *shares]
    rows = [int(test.index[target])]
    train = digits.outputs(spec, 0, "train")
    for c in (first, second):
        cosines = {
            int(i): float(f @ test.features[target] / f.norm())
            for i, f, y in zip(train.index, train.features, train.labels)
            if y == c
        }
        rows.append(max(cosines, key=cosines.get))
    assert torch.equal(shown, load_images(digits.manifest)[rows])


def test_the_plane_keeps_what_two_dimensions_can(digits, spec):
    found, target, names = first_step.explain(digits, spec), 2, digits.manifest.class_names
    table = one_target.plane(digits, spec, target)
    sizes = found.pulls[:, target].norm(dim=1)
    strongest = [int(found.classes[k]) for k in sizes.argsort(descending=True)[:3]]
    assert table["what"].tolist() == ["target", "first step", "fine-tuned", *(names[c] for c in strongest)]
    start, end = (digits.outputs(spec, epoch, "test").features[found.rows[target]] for epoch in (0, spec.epochs))
    direction = found.step[target] / found.step[target].norm()
    train = digits.outputs(spec, 0, "train")
    points = torch.stack(
        [
            start,
            start + (end - start).norm() * direction,
            end,
            *(train.features[train.labels == c].mean(0) for c in strongest),
        ]
    )
    flat, drawn = PCA(2).fit_transform(points.numpy()), table[["x", "y"]].to_numpy()
    assert np.allclose(drawn, np.sign((flat * drawn).sum(0)) * flat, atol=1e-10)
    pd.testing.assert_frame_equal(table, one_target.plane(digits, spec, target))
