import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import same_color
from scipy.stats import rankdata

from analysis_lib import ClassSplit, seen_absent_curve
from analysis_lib.analysis.gamma.curve import shift_logits
from analysis_lib.analysis.metrics.confusion import group_confusion
from analysis_lib.plots import calibration, explanation, series


def points(collections):
    return np.concatenate([np.asarray(each.get_offsets(), float) for each in collections])


def scattered(ax):
    return {each.get_label(): each for each in ax.collections if isinstance(each, PathCollection)}


def segments(ax):
    return [
        np.asarray(segment)
        for each in ax.collections
        if isinstance(each, LineCollection)
        for segment in each.get_segments()
    ]


def lines(ax):
    return {line.get_label(): np.column_stack(line.get_data()).astype(float) for line in ax.get_lines()}


# plots_explanation


def test_the_matrix_of_updates_puts_seen_classes_first(axes, random):
    matrix, split = torch.randn(5, 5, generator=random).clamp(-1, 1), ClassSplit(5, [1, 4])
    assert explanation.draw_update_similarity(matrix, split, axes) is axes
    picture, order = axes.get_images()[0], [1, 4, 0, 2, 3]
    assert picture.get_array().tolist() == [[float(matrix[a, b]) for b in order] for a in order]
    assert picture.get_clim() == (-1, 1)
    across, down = axes.get_lines()
    assert set(across.get_ydata()) == set(down.get_xdata()) == {1.5}
    for axis in (axes.xaxis, axes.yaxis):
        assert dict(zip([text.get_text() for text in axis.get_ticklabels()], axis.get_ticklocs())) == {
            "seen": 0.5,
            "absent": 3.0,
        }


@pytest.fixture
def views():
    """Two views of eight samples, the later checkpoint in another order."""
    random, frames = np.random.default_rng(0), []
    for view in ("pca", "tsne"):
        for checkpoint, order in (("pre-trained", range(8)), ("fine-tuned", random.permutation(8))):
            groups = ["seen" if i % 3 else "absent" for i in order]
            frames.append(
                pd.DataFrame(
                    {
                        "view": view,
                        "sample": [10 + i for i in order],
                        "label": "a",
                        "group": groups,
                        "checkpoint": checkpoint,
                        "x": random.normal(size=8),
                        "y": random.normal(size=8),
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize("arrows, drawn", [(60, 8), (4, 4)])
def test_a_view_shows_both_checkpoints_and_joins_each_sample_with_itself(views, axes, arrows, drawn):
    assert explanation.draw_view(views, "tsne", axes, arrows) is axes
    plane = views[views["view"] == "tsne"]
    found = scattered(axes)
    for group in ("seen", "absent"):
        for when, checkpoint in (("before", "pre-trained"), ("after", "fine-tuned")):
            rows = plane[(plane["group"] == group) & (plane["checkpoint"] == checkpoint)]
            assert np.array_equal(found[f"{group}, {when}"].get_offsets(), rows[["x", "y"]])
    assert not same_color(found["seen, after"].get_facecolor()[0], found["absent, after"].get_facecolor()[0])
    order = ["pre-trained", "fine-tuned"]
    ends = {
        tuple(rows.set_index("checkpoint").loc[order, ["x", "y"]].to_numpy().flatten())
        for _, rows in plane.groupby("sample")
    }
    joined = [tuple(segment.flatten()) for segment in segments(axes)]
    assert len(joined) == len(set(joined)) == drawn and set(joined) <= ends
    assert axes.get_title() == "t-SNE"


def test_the_step_check_shows_both_errors_of_every_seed_and_a_line_of_slope_one(axes):
    etas = [1.0, 0.25, 0.0625, 0.015625]
    checks = pd.concat(
        [
            pd.DataFrame(
                {
                    "eta": etas,
                    "cosine": [0.5, 0.8, 0.95 + seed / 100, 0.99],
                    "relative_error": [2.0, 0.9, 0.2 + seed / 10, 0.05],
                    "seed": seed,
                }
            )
            for seed in (3, 4)
        ]
    )
    assert explanation.draw_step_check(checks, axes) is axes
    found = lines(axes)
    for seed, rows in checks.groupby("seed"):
        assert np.allclose(found[f"relative error, seed {seed}"], rows[["eta", "relative_error"]])
        assert np.allclose(found[f"1 - cosine, seed {seed}"], np.column_stack([rows["eta"], 1 - rows["cosine"]]))
    slope = found["slope 1"]
    assert sorted(slope[:, 0]) == [etas[-1], etas[0]] and slope[0, 1] / slope[0, 0] == pytest.approx(
        slope[1, 1] / slope[1, 0]
    )
    assert (
        checks[["eta", "relative_error"]]
        .apply(lambda row: row["relative_error"] / row["eta"], axis=1)
        .between(slope[0, 1] / slope[0, 0] - 1e-9, slope[0, 1] / slope[0, 0] + 1e-9)
        .any()
    ), "it goes through one of the points"
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_influences_are_drawn_as_ranks_within_their_target(axes):
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        [
            (seed, target, kernel, 10.0 ** (5 * target) * pull)
            for seed in (0, 1)
            for target in (3, 4)
            for kernel, pull in random.random((7, 2))
        ],
        columns=["seed", "target", "kernel", "pull"],
    )
    assert explanation.draw_influences(table, "kernel", axes) is axes
    expected = [
        np.column_stack([rankdata(rows["kernel"]), rankdata(rows["pull"])]) / 7
        for _, rows in table.groupby(["seed", "target"], sort=False)
    ]
    assert np.allclose(points(axes.collections), np.concatenate(expected))
    middle = lines(axes)["mean in tenths"]
    ranks = np.concatenate(expected)
    for place, mean in middle:
        inside = (ranks[:, 0] > place - 0.05) & (ranks[:, 0] <= place + 0.05 + 1e-9)
        assert mean == pytest.approx(ranks[inside, 1].mean())
    assert len(middle) == 7 and "kernel" in axes.get_xlabel()


def test_pictures_are_shown_with_their_titles():
    figure, several = plt.subplots(1, 3)
    pictures = torch.arange(3 * 3 * 4 * 5, dtype=torch.uint8).view(3, 3, 4, 5)
    explanation.draw_pulls(pictures, ["a (absent)", "b, 60%", "c, 40%"], several)
    for ax, picture, title in zip(several, pictures, ("a (absent)", "b, 60%", "c, 40%")):
        assert np.array_equal(ax.get_images()[0].get_array(), picture.permute(1, 2, 0)) and ax.get_title() == title
    with pytest.raises(ValueError):
        explanation.draw_pulls(pictures[:2], ["a (absent)", "b, 60%"], several)
    plt.close(figure)


def test_motion_starts_at_the_target_and_shows_what_pulls_it(axes):
    plane = pd.DataFrame(
        {
            "what": ["target", "first step", "fine-tuned", "7", "lemon"],
            "x": [0.0, 1.0, 4.0, -2.0, 9.0],
            "y": [0.5, 3.0, -8.0, 6.0, 1.0],
        }
    )
    assert explanation.draw_motion(plane, axes) is axes
    assert np.array_equal(lines(axes)["target, before"], [[0.0, 0.5]])
    assert np.array_equal(points(axes.collections), [[-2.0, 6.0], [9.0, 1.0]])
    arrows = {tuple(text.xy): text for text in axes.texts if text.arrow_patch}
    assert set(arrows) == {(1.0, 3.0), (4.0, -8.0)} and all(tuple(text.xyann) == (0.0, 0.5) for text in arrows.values())
    assert {text.get_text(): tuple(text.xy) for text in axes.texts if text.get_text()} == {
        "7": (-2.0, 6.0),
        "lemon": (9.0, 1.0),
    }
    looks = {
        handle.get_label(): handle.get_color()
        for handle in axes.get_legend().legend_handles
        if hasattr(handle, "get_color")
    }
    assert same_color(looks["fine-tuned"], arrows[4.0, -8.0].arrow_patch.get_edgecolor())
    assert same_color(looks["first step (direction)"], arrows[1.0, 3.0].arrow_patch.get_edgecolor())
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert left < -2 and right > 9 and bottom < -8 and top > 6, "arrows end inside the axes"


def test_correlations_show_every_predictor_of_both_splits(axes):
    random = np.random.default_rng(0)
    rows = [
        (name, split, *np.sort(random.uniform(-1, 1, 3)), n)
        for split, n in (("random", 3), ("dissimilar", 1))
        for name in ("kernel", "first_order", "a")
    ]
    table = pd.DataFrame(rows, columns=["predictor", "split", "low", "mean", "high", "n_seeds"])
    assert explanation.draw_correlations(table, axes) is axes
    names = dict(zip((text.get_text() for text in axes.get_yticklabels()), axes.get_yticks()))
    assert list(names) == ["kernel", "first order", "a"] and names["kernel"] > names["first order"] > names["a"]
    found = lines(axes)
    ends = {tuple(segment[:, 0]): segment[0, 1] for segment in segments(axes)}
    heights = []
    for split, n in (("random", 3), ("dissimilar", 1)):
        drawn = found[f"{split} seen classes, n = {n}"]
        rows = table[table["split"] == split]
        assert drawn[:, 0].tolist() == rows["mean"].tolist()
        for height, row in zip(drawn[:, 1], rows.itertuples()):
            assert abs(height - names[row.predictor.replace("_", " ")]) < 0.5 and ends[row.low, row.high] == height
        heights += drawn[:, 1].tolist()
    assert len(set(heights)) == 6, "no two lie on each other"


def test_correlations_are_drawn_by_name_not_by_order(axes):
    rows = [
        ("kernel", "random", 0.1, 1),
        ("a", "random", 0.2, 1),
        ("a", "dissimilar", 0.3, 1),
        ("kernel", "dissimilar", 0.4, 1),
    ]
    table = pd.DataFrame(rows, columns=["predictor", "split", "mean", "n_seeds"]).assign(low=-0.5, high=0.5)
    explanation.draw_correlations(table, axes)
    assert lines(axes)["dissimilar seen classes, n = 1"][:, 0].tolist() == [0.4, 0.3]


# the newer figures of plots


def test_series_show_mean_and_spread_in_their_own_unit(axes):
    values = {0: [1.0, 3.0, 8.0], 1: [20.0, 30.0, 10.0]}
    table = pd.DataFrame(
        [
            (seed, epoch, metric, factor * value)
            for epoch, three in values.items()
            for seed, value in enumerate(three)
            for metric, factor in (("gap", 1), ("bias_part", -2))
        ],
        columns=["seed", "epoch", "metric", "value"],
    )
    assert series.draw_series(table, ["gap", "bias_part"], axes, "logits") is axes
    found = lines(axes)
    for label, factor, band in (("the gap", 1, axes.collections[0]), ("from biases", -2, axes.collections[1])):
        mean, spread = factor * np.array([4.0, 20.0]), abs(factor) * np.array([13**0.5, 10.0])
        assert np.allclose(found[label], np.column_stack([[0, 1], mean]))
        corners = band.get_paths()[0].vertices
        for epoch in (0, 1):
            heights = corners[corners[:, 0] == epoch, 1]
            assert (heights.min(), heights.max()) == pytest.approx(
                (mean[epoch] - spread[epoch], mean[epoch] + spread[epoch])
            )
    assert axes.get_ylabel() == "logits" and "3 seeds" in axes.get_xlabel()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["the gap", "from biases"]
    assert all(place == round(place) for place in axes.get_xticks())


def test_one_seed_is_said_to_be_one(axes):
    series.draw_series(
        pd.DataFrame({"seed": 5, "epoch": [0, 1], "metric": "gap", "value": [1.0, 2.0]}), ["gap"], axes, "logits"
    )
    assert "1 seed" in axes.get_xlabel() and "seeds" not in axes.get_xlabel()
    assert np.allclose(lines(axes)["the gap"], [[0, 1], [1, 2]])


def test_intervals_are_drawn_from_top_to_bottom_in_points(axes):
    table = pd.DataFrame(
        [("first", 0.1, 0.05, 0.2, 90), ("second", -0.25, -0.5, -0.125, 70)],
        columns=["label", "mean", "low", "high", "n_samples"],
    )
    table["n_seeds"] = 3
    assert series.draw_intervals(table, axes, "gain") is axes
    names = dict(zip((text.get_text() for text in axes.get_yticklabels()), axes.get_yticks()))
    assert names["first"] > names["second"]
    (marks,) = [data for label, data in lines(axes).items() if len(data) == 2 and np.ptp(data[:, 0])]
    assert np.allclose(marks, [[10, names["first"]], [-25, names["second"]]])
    assert np.allclose(
        segments(axes),
        [[[5, names["first"]], [20, names["first"]]], [[-50, names["second"]], [-12.5, names["second"]]]],
    )
    assert axes.get_xlabel().startswith("gain") and "70 samples" in axes.get_xlabel() and "3 seeds" in axes.get_xlabel()


def test_regrets_show_every_setting_and_the_median(axes):
    """In points; the worst setting and other measures are no marks."""
    cells = ["lr 1, 5 epochs", "lr 2, 5 epochs", "median", "worst"]
    values = {"alg": [0.25, 0.5, 0.375, 0.5], "pcv": [-0.01, 0.07, 0.03, 0.07], "cross-fitted": [0.0] * 4}
    table = pd.DataFrame(
        [
            (cell, method, measure, numbers[i], -0.02, 0.4)
            for measure in ("regret", "recovered_gain")
            for i, cell in enumerate(cells)
            for method, numbers in values.items()
        ],
        columns=["cell", "method", "measure", "value", "low", "high"],
    )
    assert calibration.draw_regrets(table, axes) is axes
    names = dict(zip((text.get_text() for text in axes.get_yticklabels()), axes.get_yticks()))
    assert list(names) == ["PCV", "ALG"] and names["ALG"] > names["PCV"], "in the order of the table, from the top"
    *marks, middle = [each for each in axes.collections if isinstance(each, PathCollection)]
    found = sorted((x, min(names, key=lambda name: abs(names[name] - y))) for x, y in points(marks))
    assert [name for _, name in found] == ["PCV", "PCV", "ALG", "ALG"]
    assert [x for x, _ in found] == pytest.approx([-1, 7, 25, 50])
    assert {tuple(point) for point in np.asarray(middle.get_offsets())} == {(37.5, names["ALG"]), (3.0, names["PCV"])}
    assert sorted(segment.tolist() for segment in segments(axes)) == [
        [[-2, names[name]], [40, names[name]]] for name in ("PCV", "ALG")
    ]
    assert "one of 2 settings" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_one_gamma_is_shown_on_the_curve_in_bars_and_in_the_confusion(digits):
    spec = digits.specs[0]
    test, split = digits.outputs(spec, spec.epochs, "test"), digits.split(spec)
    curve, gamma = seen_absent_curve(test.logits, test.labels, split), 3.21
    shifted = shift_logits(test.logits, split, gamma)
    figure, three = plt.subplots(1, 3)
    calibration.draw_gamma(curve, group_confusion(shifted, test.labels, split), gamma, three)
    right, seen = shifted.argmax(1) == test.labels, split.is_seen(test.labels)
    expected = [100 * float(right[rows].double().mean()) for rows in (seen, ~seen, torch.ones_like(seen))]
    line, point = three[0].get_lines()
    assert np.allclose(line.get_data(), [100 * curve.acc_sy, 100 * curve.acc_uy])
    assert [*point.get_xdata(), *point.get_ydata()] == pytest.approx(expected[:2])
    assert [bar.get_height() for bar in three[1].patches] == pytest.approx(expected)
    assert [text.get_text() for text in three[1].texts] == [f"{value:.1f}" for value in expected]
    assert three[0].get_title() == "$\\gamma$ = 3.21"
    to_seen = split.is_seen(shifted.argmax(1))
    for text in three[2].texts:
        column, row = map(int, text.get_position())
        rows = ~seen if row else seen
        share = float((~to_seen if column else to_seen)[rows].double().mean())
        assert text.get_text() == f"{100 * share:.1f} %" and three[2].get_images()[0].get_array()[
            row, column
        ] == pytest.approx(share)
    for axis in (three[2].xaxis, three[2].yaxis):
        assert [text.get_text() for text in axis.get_ticklabels()] == ["seen", "absent"]
    assert (three[2].get_xlabel(), three[2].get_ylabel()) == ("predicted group", "true group") and len(
        three[2].texts
    ) == 4
    plt.close(figure)
