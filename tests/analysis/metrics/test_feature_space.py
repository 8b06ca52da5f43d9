import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

from analysis_lib import UserError
from analysis_lib.analysis.metrics.feature_space import (
    feature_dimensions,
    joint_pca,
    joint_tsne,
    joint_umap,
    linear_cka,
    main_axes,
)


def matrix(seed, n=30, width=5):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_spectrum(values, n=30, width=8):
    """Features whose centred singular values are `values`, around a mean that is not zero."""
    random = matrix(1, n, len(values))
    left, _ = torch.linalg.qr(random - random.mean(0))
    right, _ = torch.linalg.qr(matrix(2, width, len(values)))
    return left * torch.tensor(values, dtype=torch.float64) @ right.T + 3


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 40), st.integers(1, 6), st.integers(1, 6))
def test_cka_equals_the_gram_matrix_formula(seed, n, width_a, width_b):
    a, b = matrix(seed, n, width_a) + 2, matrix(seed + 1, n, width_b)
    centre = torch.eye(n, dtype=torch.float64) - 1 / n
    k, m = centre @ a @ a.T @ centre, centre @ b @ b.T @ centre
    assert linear_cka(a, b) == pytest.approx(
        (torch.trace(k @ m) / (torch.trace(k @ k) * torch.trace(m @ m)).sqrt()).item(), abs=1e-10
    )


def test_cka_sees_through_rotation_scale_and_offset_but_not_through_other_maps():
    a, b = matrix(0), matrix(0) + 0.5 * matrix(1)
    rotation, _ = torch.linalg.qr(matrix(2, 5, 5))
    assert linear_cka(a, 3 * a @ rotation + 1) == pytest.approx(1, abs=1e-12)
    assert (
        linear_cka(a @ rotation, -0.1 * b + 7)
        == pytest.approx(linear_cka(a, b), abs=1e-12)
        == pytest.approx(linear_cka(b, a), abs=1e-12)
    )
    assert linear_cka(a, a * torch.tensor([1, 1, 1, 1, 20])) < 0.9
    columns = with_spectrum([1, 1, 1, 1], width=4) @ torch.linalg.qr(matrix(2, 4, 4))[0]
    assert linear_cka(columns[:, :2], columns[:, 2:]) == pytest.approx(0, abs=1e-12)
    assert math.isnan(linear_cka(a, torch.ones(30, 2)))


def test_dimensions_of_a_known_spectrum():
    values = np.array([4.0, 2.0, 1.0, 1.0])
    share = values / values.sum()
    expected = {
        "rank": 4,
        "effective_rank": np.prod(share**-share),
        "participation_ratio": (values**2).sum() ** 2 / (values**4).sum(),
    }
    assert feature_dimensions(with_spectrum(list(values))) == pytest.approx(expected, abs=1e-9)
    assert feature_dimensions(100 * with_spectrum(list(values))) == pytest.approx(expected, abs=1e-9)
    for k in (1, 3, 6):
        assert feature_dimensions(with_spectrum([2.0] * k)) == pytest.approx(
            {"rank": k, "effective_rank": k, "participation_ratio": k}, abs=1e-9
        )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(1, 8))
@example(19537, 2, 2)  # two rows that are nearly equal
def test_dimensions_lie_between_one_and_the_rank(seed, n, width):
    sizes = feature_dimensions(matrix(seed, n, width))
    assert sizes["rank"] == min(n - 1, width)
    assert 1 - 1e-9 <= sizes["participation_ratio"] <= sizes["effective_rank"] + 1e-9 <= sizes["rank"] + 2e-9


def test_rounding_of_float32_features_is_no_rank():
    product = (matrix(3, 200, 3) @ matrix(4, 3, 40)).float()
    assert feature_dimensions(product)["rank"] == int(torch.linalg.matrix_rank(product - product.mean(0))) == 3
    assert feature_dimensions(product.double())["rank"] == 40


def test_equal_rows_use_no_dimension():
    assert feature_dimensions(torch.ones(5, 3))["rank"] == 0


def test_there_are_no_more_axes_than_points_or_features():
    for n, width in ((3, 5), (5, 3)):
        axes, values = main_axes(matrix(4, n, width))
        assert axes.shape == (3, width) and values.shape == (3,) and (values.diff() <= 0).all()
        assert torch.allclose(axes @ axes.T, torch.eye(3, dtype=torch.float64))


def test_two_points_in_the_plane_are_enough():
    before, after, share = joint_pca(torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([[4.0, 0.0], [4.0, 0.0]]))
    assert (before[:, 0].tolist(), after[:, 0].tolist()) == ([-2, -2], [2, 2]) and share.tolist() == [1, 0]


def test_joint_pca_agrees_with_scikit_learn():
    before, after = matrix(5), matrix(6) * 2 + 1
    both = torch.cat([before, after])
    reference = PCA(2).fit(both)
    axes = (
        reference.components_
        * np.sign(reference.components_[range(2), np.abs(reference.components_).argmax(1)])[:, None]
    )
    points_before, points_after, share = joint_pca(before, after)
    assert torch.cat([points_before, points_after]).numpy() == pytest.approx(
        (both - both.mean(0)).numpy() @ axes.T, abs=1e-10
    )
    assert share.numpy() == pytest.approx(reference.explained_variance_ratio_)
    assert (points_after - points_before).numpy() == pytest.approx((after - before).numpy() @ axes.T, abs=1e-10)


def moving_clusters():
    """Two classes before and after, four clusters in all, and which cluster each of the 80 points is from."""
    label = torch.arange(40) % 2
    before, after = matrix(7, 40), matrix(8, 40)
    before[:, 0] += 30 * label
    after[:, 0] += 30 * label
    after[:, 1] += 30
    return before, after, torch.cat([label, label + 2])


# One test for UMAP, as its compiler takes seconds.
@pytest.mark.parametrize("view", [joint_tsne, joint_umap])
def test_joint_views_keep_clusters_rows_and_seeds(view):
    before, after, cluster = moving_clusters()
    first, again, other = (view(before, after, seed) for seed in (0, 0, 1))
    assert all(points.shape == (40, 2) and points.dtype == torch.float64 for points in first)
    assert all(torch.equal(a, b) for a, b in zip(first, again)) and not torch.equal(first[0], other[0])
    assert silhouette_score(torch.cat(first), cluster) > 0.5


def test_tsne_takes_few_samples():
    points = torch.cat(joint_tsne(matrix(9, 4), matrix(10, 4), 0))
    assert points.shape == (8, 2) and points.isfinite().all()


def test_says_what_does_not_fit():
    with pytest.raises(UserError, match="expected rows for the same samples"):
        linear_cka(matrix(0, 5), matrix(0, 6))
    for pair in ((torch.zeros(5, 2, 2), torch.zeros(5, 2)), (torch.zeros(5, 2), torch.zeros(5))):
        with pytest.raises(UserError, match="expected rows for the same samples"):
            linear_cka(*pair)
    for bad in (torch.zeros(0, 3), torch.zeros(3)):
        with pytest.raises(UserError, match="expected .N, D. with at least one row"):
            feature_dimensions(bad)
    for view in (joint_pca, lambda a, b: joint_tsne(a, b, 0), lambda a, b: joint_umap(a, b, 0)):
        for before, after in (
            (matrix(0, 5), matrix(0, 6)),
            (matrix(0, 1), matrix(0, 1)),
            (matrix(0, 5, 1), matrix(0, 5, 1)),
        ):
            with pytest.raises(UserError, match=r"after have shapes \(., .\) and \(., .\); .*, N and D at least 2"):
                view(before, after)
