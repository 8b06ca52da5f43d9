import itertools
import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from analysis_lib import ClassSplit, UserError, accuracies, average_logit_gap
from analysis_lib.analysis.gamma.estimators import PRETRAINED, offered
from analysis_lib.plots import toy
from analysis_lib.runs import run_set
from analysis_lib.studies.toy import measures, network

QUICK = network.ToySource(sigma=1.0, per_class=20, width=8, steps=60)
CONFIG = network.ToyConfig(source=QUICK, steps=20, lr=0.05)


@pytest.fixture(scope="module")
def result():
    return network.run_toy(CONFIG)


@pytest.fixture(scope="module")
def table():
    names = ("as designed", "absent classes go the other way")
    return measures.toy_grid(
        {name: measures.VARIANTS[name] for name in names}, directions=(0, 90, 180, 270), seeds=(0, 1)
    )


@pytest.fixture
def axes():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def value(metrics, checkpoint, metric):
    return metrics.set_index(["checkpoint", "metric"])["value"][checkpoint, metric]


def test_source_classes_stand_on_the_circle():
    source = network.ToySource(angles=(0, 90, 200), per_class=4000, radius=3, sigma=0.3)
    points = network.make_data(network.ToyConfig(source=source)).source
    for c, angle in enumerate((0, 90, 200)):
        own = points.x[points.labels == c]
        assert own.mean(0).tolist() == pytest.approx(
            [3 * math.cos(math.radians(angle)), 3 * math.sin(math.radians(angle))], abs=0.03
        )
        assert own.std(0).tolist() == pytest.approx([0.3, 0.3], abs=0.02)


@pytest.mark.parametrize("motion", [1.0, 0.0, -1.0])
def test_the_target_domain_turns_then_shifts(motion):
    config = replace(CONFIG, seen=(0, 3), rotation=25, shift=1.5, direction=200, absent_motion=motion)
    data, still = network.make_data(config), network.make_data(replace(config, rotation=0, shift=0))
    for c, share in ((0, 1), (3, 1), (1, motion), (2, motion)):
        angle = math.radians(25 * share)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        shift = share * 1.5 * np.array([math.cos(math.radians(200)), math.sin(math.radians(200))])
        for moved, plain in ((data.train, still.train), (data.test, still.test)):
            rows = moved.labels == c
            assert np.allclose(moved.x[rows], plain.x[rows].numpy() @ turn.T + shift, atol=1e-12)
    assert not torch.equal(still.train.x, still.test.x) and not torch.equal(still.train.x, still.source.x)


def test_fine_tuning_data_are_the_seen_classes_of_the_target_training_data():
    data = network.make_data(CONFIG)
    assert data.fine_tuning.labels.unique().tolist() == [0, 2]
    assert torch.equal(data.fine_tuning.x, data.train.x[(data.train.labels == 0) | (data.train.labels == 2)])
    assert torch.bincount(data.test.labels).tolist() == [20] * 4


def test_training_is_plain_gradient_descent(result):
    data = network.make_data(CONFIG)
    model = network.ToyNet(QUICK)
    for points, steps, lr in ((data.source, 60, 0.05), (data.fine_tuning, 20, 0.05)):
        for _ in range(steps):
            gradients = torch.autograd.grad(cross_entropy(model(points.x)[1], points.labels), list(model.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(model.parameters(), gradients):
                    parameter -= lr * gradient
    for trained, expected in zip(result.after.parameters(), model.parameters()):
        assert torch.allclose(trained, expected, rtol=0, atol=1e-12)


def test_a_configuration_gives_the_same_network_and_leaves_the_rest_alone(result):
    state = torch.get_rng_state()
    before = [parameter.clone() for parameter in result.before.parameters()]
    network.run_toy(replace(CONFIG, lr=0.1))
    network._pretrained.cache_clear()
    again, other = network.run_toy(CONFIG), network.run_toy(replace(CONFIG, source=replace(QUICK, seed=1)))
    assert torch.equal(torch.get_rng_state(), state)
    for kept, first, second in zip(before, result.before.parameters(), again.before.parameters()):
        assert torch.equal(kept, first) and torch.equal(kept, second)
    assert all(torch.equal(a, b) for a, b in zip(result.after.parameters(), again.after.parameters()))
    assert not torch.equal(again.data.test.x, other.data.test.x)
    assert not torch.equal(
        next(network.ToyNet(QUICK).parameters()), next(network.ToyNet(replace(QUICK, seed=1)).parameters())
    )
    assert next(result.after.parameters()).dtype == torch.float64


def test_without_learning_nothing_changes():
    still = network.run_toy(replace(CONFIG, lr=0.0))
    metrics = measures.toy_metrics(still).pivot(index="metric", columns="checkpoint", values="value")
    both = metrics.dropna()
    assert (both[run_set.PRE_TRAINED] == both[run_set.FINE_TUNED]).all() and len(both) > 30
    assert metrics[run_set.FINE_TUNED][["ncm_change", "displacement_s", "displacement_u"]].tolist() == [0, 0, 0]


@torch.no_grad()
def test_metrics_are_those_of_the_right_model_and_points(result):
    metrics, split = measures.toy_metrics(result), ClassSplit(4, (0, 2))
    seen = metrics.groupby("checkpoint", sort=False).size().index.tolist()
    assert seen == [run_set.PRE_TRAINED, run_set.FINE_TUNED]
    for checkpoint, model in ((run_set.PRE_TRAINED, result.before), (run_set.FINE_TUNED, result.after)):
        labels, (features, logits) = result.data.test.labels, model(result.data.test.x)
        for key, expected in accuracies(logits, labels, split).items():
            assert value(metrics, checkpoint, key) == expected
        tuning = result.data.fine_tuning
        assert value(metrics, checkpoint, "gamma_alg") == average_logit_gap(model(tuning.x)[1], tuning.labels, split)
        train = model(result.data.train.x)[0]
        unit = train / train.norm(dim=1, keepdim=True)
        means = torch.stack([unit[result.data.train.labels == c].mean(0) for c in range(4)])
        nearest = (features @ (means / means.norm(dim=1, keepdim=True)).T).argmax(1)
        absent = ~split.is_seen(labels)
        assert value(metrics, checkpoint, "ncm_acc_uy") == pytest.approx(
            (nearest == labels)[absent].double().mean().item()
        )
        for method in (*offered(frozenset({PRETRAINED})), "star"):
            shifted = logits.clone()
            shifted[:, [1, 3]] += value(metrics, checkpoint, f"gamma_{method}")
            for group, rows in (("sy", ~absent), ("uy", absent), ("yy", absent | ~absent)):
                expected = (shifted.argmax(1) == labels)[rows].double().mean().item()
                assert value(metrics, checkpoint, f"{method}_acc_{group}") == pytest.approx(expected)


@torch.no_grad()
def test_metrics_that_compare_the_checkpoints(result):
    metrics, split = measures.toy_metrics(result), result.config.split
    after, before = (
        metrics[metrics["checkpoint"] == name].set_index("metric")["value"]
        for name in (run_set.FINE_TUNED, run_set.PRE_TRAINED)
    )
    start, end = (model(result.data.test.x)[0] for model in (result.before, result.after))
    absent = ~split.is_seen(result.data.test.labels)
    assert (
        after["gamma_alg_change"] == pytest.approx(after["gamma_alg"] - before["gamma_alg"])
        and before["gamma_alg_change"] == 0
    )
    assert after["ncm_change"] == after["ncm_acc_uy"] - before["ncm_acc_uy"]
    assert after["displacement_u"] == pytest.approx((end - start)[absent].norm(dim=1).mean().item())
    assert after["cosine_nearest"] == pytest.approx(
        measures.nearest_cosines(start, end, result.data.test.labels, split).mean().item()
    )
    assert after["gamma_alg"] != before["gamma_alg"] and "displacement_u" not in before


def test_estimates_of_gamma_do_not_see_test_or_absent_points(result):
    data = result.data
    labels = data.test.labels[torch.randperm(len(data.test.labels), generator=torch.Generator().manual_seed(0))]
    absent = (~result.config.split.is_seen(data.train.labels))[:, None]
    spoiled = replace(
        data,
        test=network.Points(data.test.x + 1, labels),
        train=network.Points(data.train.x + 9 * absent, data.train.labels),
    )
    honest, other = measures.toy_metrics(result), measures.toy_metrics(replace(result, data=spoiled))
    for checkpoint in result.models:
        for method in offered(frozenset({PRETRAINED})):
            assert value(honest, checkpoint, f"gamma_{method}") == value(other, checkpoint, f"gamma_{method}")
        assert value(honest, checkpoint, "acc_uy") != value(other, checkpoint, "acc_uy")


def test_nearest_cosines_are_their_definition(random):
    split, labels = ClassSplit(5, (0, 2, 3)), torch.arange(5).repeat(6)
    start, end = torch.randn(2, 30, 3, generator=random, dtype=torch.float64)
    found = measures.nearest_cosines(start, end, labels, split)
    expected = []
    for i in range(30):
        if int(labels[i]) in split.absent:
            centre = {c: start[labels == c].mean(0) for c in range(5)}
            near = min(split.seen, key=lambda c: (centre[c] - centre[int(labels[i])]).norm().item())
            own, mean = end[i] - start[i], (end - start)[labels == near].mean(0)
            expected.append((own @ mean / (own.norm() * mean.norm())).item())
    assert found.tolist() == pytest.approx(expected)
    moved = start + torch.tensor([1.0, 2.0, 3.0])
    assert measures.nearest_cosines(start, moved, labels, split).tolist() == pytest.approx([1] * 12)


def test_the_claims_hold_as_designed_and_fail_when_absent_classes_go_the_other_way(table):
    changes = measures.toy_changes(table).groupby(["variant", "metric"])["change"].mean()
    designed, opposite = changes["as designed"], changes["absent classes go the other way"]
    assert designed["acc_uy"] < -0.05
    assert designed["ncm_acc_uy"] > -0.02
    assert designed["star_acc_uy"] > 0.05 and designed["ausuc"] > 0.1
    assert opposite["acc_uy"] < -0.05 and opposite["star_acc_uy"] < 0 and opposite["ausuc"] < 0.02
    aligned = table.query("metric == 'cosine_nearest' and variant == 'as designed'")["value"]
    assert aligned.mean() > 0.8


def test_the_grid_holds_every_run_once(table):
    runs = table[["variant", "direction", "seed"]].drop_duplicates()
    assert (
        len(runs) == 2 * 4 * 2 and not table.duplicated(["variant", "direction", "seed", "checkpoint", "metric"]).any()
    )
    one = replace(measures.VARIANTS["as designed"], direction=180, source=network.ToySource(seed=1))
    same = table.query("variant == 'as designed' and direction == 180 and seed == 1")[["checkpoint", "metric", "value"]]
    assert same.reset_index(drop=True).equals(measures.toy_metrics(network.run_toy(one)))


def test_changes_are_paired_and_keep_the_order_of_variants(table):
    changes = measures.toy_changes(table)
    assert changes["variant"].unique().tolist() == table["variant"].unique().tolist()
    assert len(changes) == 4 * 2 * 4 * 2 and changes["change"].notna().all()
    run = {"variant": "as designed", "direction": 90, "seed": 1}
    find = " and ".join(f"{name} == {key!r}" for name, key in run.items())
    metrics = table.query(find)
    for metric, base in (
        ("acc_uy", "acc_uy"),
        ("ncm_acc_uy", "ncm_acc_uy"),
        ("star_acc_uy", "acc_uy"),
        ("ausuc", "ausuc"),
    ):
        expected = value(metrics, run_set.FINE_TUNED, metric) - value(metrics, run_set.PRE_TRAINED, base)
        assert changes.query(f"{find} and metric == {metric!r}")["change"].item() == pytest.approx(expected)


@torch.no_grad()
@pytest.mark.parametrize("gamma", [-2.0, 0.0, 3.0])
def test_the_decision_grid_predicts_each_place(result, gamma):
    axis, classes = measures.decision_grid(result.after, result.config.split, gamma, extent=5, steps=21)
    assert classes.shape == (21, 21) and (axis[0], axis[-1]) == (-5, 5)
    for row, column in ((0, 20), (20, 0), (3, 11), (17, 8), (10, 15)):
        logits = result.after(torch.stack([axis[column], axis[row]])[None])[1][0] + gamma * torch.tensor([0, 1, 0, 1])
        assert classes[row, column] == logits.argmax()


def test_a_larger_gamma_only_adds_to_the_absent_regions(result):
    grids = [
        measures.decision_grid(result.after, result.config.split, gamma, 5, 40)[1] % 2 == 1
        for gamma in (-1e6, -1, 0, 1, 1e6)
    ]
    assert not grids[0].any() and grids[-1].all()
    assert all((small <= large).all() for small, large in itertools.pairwise(grids))
    assert 0 < grids[2].sum() < grids[2].numel()


def test_mistakes_are_one_sentence():
    with pytest.raises(UserError, match="seen class 4 is outside 0..3"):
        network.run_toy(replace(CONFIG, seen=(0, 4)))
    with pytest.raises(UserError, match=r"diverged within 20 steps; lower the learning rate \(now 1e\+09\)"):
        network.run_toy(replace(CONFIG, lr=1e9))
    with pytest.raises(UserError, match="per_class=0; give at least 1"):
        network.ToySource(per_class=0)
    with pytest.raises(UserError, match="at least two seen classes"):
        measures.toy_metrics(network.run_toy(replace(CONFIG, seen=(1,))))


def test_a_run_that_diverges_is_left_out_and_the_others_stay():
    variants = {"stays": CONFIG, "diverges": replace(CONFIG, lr=1e9)}
    table = measures.toy_grid(variants, directions=(0,), seeds=(0, 1))
    assert set(table["variant"]) == {"stays"} and set(table["seed"]) == {0, 1}
    assert set(measures.toy_changes(table)["variant"]) == {"stays"}


def test_regions_show_all_points_and_the_grid(result, axes):
    assert toy.draw_toy_regions(result, run_set.FINE_TUNED, 0.5, axes) is axes
    drawn = {tuple(place) for c in axes.collections for place in np.round(c.get_offsets(), 9).tolist()}
    for points in (result.data.source, result.data.test):
        assert {tuple(place) for place in points.x.numpy().round(9).tolist()} <= drawn
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2", "3"]
    legend = toy.draw_region_legend(axes)
    assert len({text.get_text() for text in legend.get_texts()}) == 6
    with pytest.raises(UserError, match="unknown checkpoint 'finetuned' .did you mean 'fine-tuned'"):
        toy.draw_toy_regions(result, "finetuned", 0, axes)


@torch.no_grad()
def test_arrows_go_from_the_features_before_to_those_after(result, axes):
    assert toy.draw_toy_displacement(result, axes) is axes
    arrows = {tuple(row) for q in axes.collections for row in np.round(np.c_[q.get_offsets(), q.U, q.V], 9).tolist()}
    start, end = (model(result.data.test.x)[0] for model in (result.before, result.after))
    assert arrows == {tuple(row) for row in torch.cat([start, end - start], 1).numpy().round(9).tolist()}


def test_the_grid_figure_shows_means_in_points(table, axes):
    changes = measures.toy_changes(table)
    assert toy.draw_toy_grid(changes, axes) is axes
    means = {
        c.get_label(): c.get_offsets()[:, 0].tolist() for c in axes.collections if not c.get_label().startswith("_")
    }
    for metric, (label, _, _) in toy.CHANGES.items():
        own = changes[changes["metric"] == metric].groupby("variant", sort=False)["change"].mean()
        assert means[label] == pytest.approx((100 * own).tolist())
    assert [text.get_text() for text in axes.get_yticklabels()] == changes["variant"].unique().tolist()
    assert "8 runs" in axes.get_xlabel()
