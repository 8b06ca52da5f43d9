"""The feature space as a whole: similarity of two spaces, number of dimensions used, and projections to the plane.

Letters: N samples, D feature width. Projections of two states share one basis, so the arrow from a sample's point
before to its point after is its displacement. Distances in them depend on the scale of the features; normalise first
to see directions only.
"""

import warnings

import numpy as np
import torch

from ...core.errors import UserError
from ..chunks import by_rows


def linear_cka(a: torch.Tensor, b: torch.Tensor) -> float:
    """Linear centred kernel alignment of two feature matrices of the same samples: 1 is equal up to rotation and scale.

    a : (N, D1); b : (N, D2), rows in one order. In [0, 1]; NaN when all rows of one are equal. Raises UserError for
    shapes that do not fit. Source: Kornblith et al. 2019.
    """
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b):
        raise UserError(
            f"features have shapes {tuple(a.shape)} and {tuple(b.shape)}; expected rows for the same samples in both"
        )
    a, b = _centred(a), _centred(b)
    return ((a.T @ b).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm())).item()


def feature_dimensions(features: torch.Tensor) -> dict[str, float]:
    """The number of dimensions that the centred features use, measured in three ways.

    features : (N, D). Returns `rank`, the number of singular values above max(N, D) times the rounding of the features'
    own type; `effective_rank`, exp of the entropy of the singular values scaled to sum 1; `participation_ratio`, (sum
    of v)^2 / sum of v^2 for the eigenvalues v of the covariance. The last two lie between 1 and the rank. Raises
    UserError for another shape. Source: effective rank, Roy and Vetterli 2007 (there without centring); the rest,
    standard.
    """
    if features.ndim != 2 or not features.numel():
        raise UserError(f"features have shape {tuple(features.shape)}; expected (N, D) with at least one row")
    values = torch.linalg.svdvals(_centred(features))
    above = (values > max(features.shape) * torch.finfo(features.dtype).eps * values.max()).sum()
    rank = min(int(above), len(features) - 1)  # centred rows sum to 0; the rounding of nearly equal rows does not
    effective = torch.special.entr(values / values.sum()).sum().exp()
    participation = values.square().sum().square() / values.pow(4).sum()
    return {"rank": float(rank), "effective_rank": effective.item(), "participation_ratio": participation.item()}


def main_axes(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The min(N, D) main directions of points (N, D) about their mean, the longest first, float64.

    Returns axes (min(N, D), D) and their singular values. The loading of largest size of each axis is positive. Source:
    principal components.
    """
    _, values, axes = torch.linalg.svd(_centred(points), full_matrices=False)
    return axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign(), values


def joint_pca(before: torch.Tensor, after: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Principal components of both states together, projected to the first two.

    before, after : (N, D) of the same samples. Returns the points before and after, (N, 2) float64 each, and the share
    of the variance on each axis, (2,). The largest loading of an axis is positive. Raises UserError for shapes that do
    not fit. Source: paper, feature displacement figure.
    """
    both = _stacked(before, after)
    axes, values = main_axes(both)
    points = _centred(both) @ axes[:2].T
    return *points.split(len(before)), values[:2].square() / values.square().sum()


def joint_umap(before: torch.Tensor, after: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """UMAP of both states together (15 neighbours, or all if there are fewer).

    before, after : (N, D) of the same samples. Returns the points before and after, (N, 2) float64 each. The same seed
    gives the same points on one machine, not on every machine. Raises UserError for shapes that do not fit. Source:
    paper, feature displacement figure; McInnes et al. 2018.
    """
    both = _stacked(before, after).cpu().numpy()
    with warnings.catch_warnings():
        # it warns that TensorFlow is missing, which is not needed, and of clusters without a common neighbour
        warnings.simplefilter("ignore")
        from umap import UMAP  # imported here because its compiler takes seconds to start

        threads = torch.get_num_threads()
        points = UMAP(random_state=seed, n_jobs=1).fit_transform(both)
        torch.set_num_threads(threads)  # its compiler sets the thread number of the library that it shares with torch
    return _as_pair(points, before)


def joint_tsne(before: torch.Tensor, after: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """t-SNE of both states together (perplexity 30, or a third of the points if there are fewer).

    Shapes, seed and errors as in `joint_umap`. It starts from random points, so each seed gives another picture; only
    what all of them show is in the data. Source: van der Maaten and Hinton 2008.
    """
    from sklearn.manifold import TSNE  # heavy, and only needed here

    both = _stacked(before, after).cpu().numpy()
    perplexity = min(30, (len(both) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="random", random_state=seed, n_jobs=1).fit_transform(both)
    return _as_pair(points, before)


def _centred(features: torch.Tensor) -> torch.Tensor:
    mean = features.double().mean(0)
    return by_rows(lambda rows: rows.double() - mean, features)


def _stacked(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """(2N, D) float64: all points before, then all after."""
    if before.ndim != 2 or before.shape != after.shape or min(before.shape) < 2:
        shapes = f"{tuple(before.shape)} and {tuple(after.shape)}"
        raise UserError(
            f"features before and after have shapes {shapes}; expected one (N, D) for both, N and D at least 2"
        )
    return torch.cat([before, after]).double()


def _as_pair(points: np.ndarray, before: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.as_tensor(points, dtype=torch.float64, device=before.device).split(len(before))
