"""NCM, the softmax decomposition, the calibration error and the bootstrap, against plain loops and libraries.

Where a loop is slow, a part of it is timed and scaled up. All forms give the same numbers, which is checked first.
"""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from rows import CEILING, PART, Row, compare
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.neighbors import NearestCentroid
from torch.nn.functional import cosine_similarity, normalize

from analysis_lib import ClassSplit, class_means, ncm_scores, softmax_decomposition
from analysis_lib.analysis.metrics.calibration_error import expected_calibration_error
from analysis_lib.analysis.stats.bootstrap import draw_resamples, resampled_means

N, CLASSES, FEATURES, BINS = 10_000, 1_000, 512, 15
METRICS, RESAMPLES, SAMPLES, SEEDS = 20, 2_000, 900, 3
LOOPED = 100  # samples of the decomposition, and resamples of the bootstrap, that the loops do
SAME = 0.8  # the limit where most of the time goes to the same product or softmax in both forms
SCORED = 20  # classes that the loop of NCM scores does


def rows() -> Iterator[Row]:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(N) % CLASSES
    features, logits = torch.randn(N, FEATURES, generator=random), torch.randn(N, CLASSES, generator=random)
    features[torch.arange(N), labels % FEATURES] += 8
    logits[torch.arange(N), labels] += 5
    yield from ncm(features, labels)
    yield from decomposition(logits, labels, ClassSplit(CLASSES, range(CLASSES // 2)))
    yield from calibration_error(logits, labels)
    yield from bootstrap()


def ncm(features, labels) -> Iterator[Row]:
    means = class_means(features, labels, CLASSES)
    assert torch.allclose(means_in_a_loop(features, labels), means)
    assert torch.allclose(scores_in_a_loop(features, means[:SCORED]), ncm_scores(features, means)[:, :SCORED])
    assert torch.equal(by_nearest_centroid(features, labels), ncm_scores(features, means).argmax(1))
    ours = partial(class_means, features, labels, CLASSES)
    yield compare("metrics", "class means: loop over classes", ours, partial(means_in_a_loop, features, labels), 1)
    ours, loop = partial(ncm_scores, features, means), partial(scores_in_a_loop, features, means[:SCORED])
    yield compare("metrics", "NCM scores: loop over classes", ours, loop, 10, PART, SCORED / CLASSES)

    def predicted():
        return ncm_scores(features, class_means(features, labels, CLASSES)).argmax(1)

    library = partial(by_nearest_centroid, features, labels)
    yield compare("metrics", "NCM: scikit-learn's NearestCentroid", predicted, library, SAME, rounds=3)


def means_in_a_loop(features, labels) -> torch.Tensor:
    unit = normalize(features.double(), dim=1)
    return torch.stack([normalize(unit[labels == c].mean(0), dim=0) for c in range(CLASSES)])


def scores_in_a_loop(features, means) -> torch.Tensor:
    features = features.double()
    return torch.stack([cosine_similarity(features, mean[None]) for mean in means], dim=1)


def by_nearest_centroid(features, labels) -> torch.Tensor:
    """Its classes are at the nearest mean; with means of unit length, these are NCM's."""
    unit = normalize(features.double(), dim=1).numpy()
    nearest = NearestCentroid().fit(unit, labels.numpy())
    nearest.centroids_ /= np.linalg.norm(nearest.centroids_, axis=1, keepdims=True)
    return torch.from_numpy(nearest.predict(unit))


def decomposition(logits, labels, split) -> Iterator[Row]:
    found, part = softmax_decomposition(logits, labels, split), (logits[:LOOPED], labels[:LOOPED])
    assert torch.allclose(decomposed_in_a_loop(*part, split), found.p_within[:LOOPED])
    ours, loop = partial(softmax_decomposition, logits, labels, split), partial(decomposed_in_a_loop, *part, split)
    yield compare("metrics", "decomposition: loop over samples", ours, loop, 2, PART, LOOPED / N)
    name = "decomposition: one float64 softmax"
    yield compare("metrics", name, ours, lambda: logits.double().softmax(1), None, CEILING)


def decomposed_in_a_loop(logits, labels, split) -> torch.Tensor:
    """p(y|x, G) of each sample, and the other parts beside it."""
    seen, absent, within = list(split.seen), list(split.absent), []
    for z, y in zip(logits.double(), labels.tolist()):
        p = z.softmax(0)
        p_absent, own = p[absent].sum(), seen if y in split.seen else absent
        p_own = 1 - p_absent if own is seen else p_absent
        z.argmax() == y, own[z[own].argmax()] == y
        within.append(p[y] / p_own)
    return torch.stack(within)


def calibration_error(logits, labels) -> Iterator[Row]:
    ours = partial(expected_calibration_error, logits, labels, BINS)
    for name, other in {"loop over bins": binned_in_a_loop, "scikit-learn's bins": by_calibration_curve}.items():
        assert abs(other(logits, labels) - ours()) < 1e-9
        yield compare("metrics", f"calibration error: {name}", ours, partial(other, logits, labels), SAME)


def binned_in_a_loop(logits, labels) -> float:
    confidence, predicted = logits.double().softmax(1).max(1)
    right, edges, error = (predicted == labels).double(), torch.linspace(0, 1, BINS + 1).double(), 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            error += (confidence[inside].mean() - right[inside].mean()).abs().item() * inside.sum().item() / N
    return error


def by_calibration_curve(logits, labels) -> float:
    confidence, predicted = (part.numpy() for part in logits.double().softmax(1).max(1))
    right, edges = predicted == labels.numpy(), np.linspace(0, 1, BINS + 1)
    accuracy, mean = calibration_curve(right, confidence, n_bins=BINS)
    counts = np.histogram(confidence, edges)[0]
    return float(np.abs(accuracy - mean) @ counts[counts > 0] / N)


def bootstrap() -> Iterator[Row]:
    values = (torch.rand(SEEDS, METRICS, SAMPLES, generator=generator(0)) < 0.7).double()
    values = values.masked_fill(torch.rand(values.shape, generator=generator(1)) < 0.5, torch.nan)
    few = [part[:LOOPED] for part in draw_resamples(SAMPLES, SEEDS, generator(0), RESAMPLES)]
    assert torch.allclose(resampled_means(values, *few), resampled_in_a_loop(values, *few))
    ours, loop = partial(resampled, values), partial(resampled_in_a_loop, values, *few)
    name = f"bootstrap of {METRICS} metrics, {SEEDS} seeds"
    yield compare("metrics", f"{name}: loop", ours, loop, 5, PART, LOOPED / RESAMPLES)
    ours, library = partial(resampled, values[:1]), partial(by_scipy, values[0].numpy())
    spread = resampled(values[:1]).std(0).numpy() / by_scipy(values[0].numpy()).standard_error
    assert (abs(spread - 1) < 0.2).all()
    yield compare("metrics", f"bootstrap of {METRICS} metrics, one seed: SciPy", ours, library, 2, rounds=3)


def generator(seed) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def resampled(values) -> torch.Tensor:
    return resampled_means(values, *draw_resamples(SAMPLES, len(values), generator(0), RESAMPLES))


def resampled_in_a_loop(values, sample_counts, seed_counts) -> torch.Tensor:
    means = []
    for samples, seeds in zip(sample_counts.long(), seed_counts.long()):
        drawn = torch.arange(SAMPLES).repeat_interleave(samples)
        chosen = torch.arange(SEEDS).repeat_interleave(seeds).tolist()
        means.append(torch.stack([values[k][:, drawn].nanmean(1) for k in chosen]).mean(0))
    return torch.stack(means)


def by_scipy(values):
    return stats.bootstrap(
        (values,),
        np.nanmean,
        n_resamples=RESAMPLES,
        batch=100,
        axis=-1,
        method="percentile",
        rng=np.random.default_rng(0),
    )
