import pytest
import torch
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import normalize

from analysis_lib import class_means, ncm_scores
from analysis_lib.analysis.metrics.ncm import ncm_margins


def clouds(random, n=200, width=16, num_classes=5):
    labels = torch.randint(num_classes, (n,), generator=random)
    return torch.randn(num_classes, width, generator=random)[labels] + 1.5 * torch.randn(n, width, generator=random), labels


def test_predictions_agree_with_scikit_learn_on_the_sphere(random):
    features, labels = clouds(random)
    train, test = slice(0, 120), slice(120, 200)
    ours = ncm_scores(features[test], class_means(features[train], labels[train], 5)).argmax(1)
    theirs = NearestCentroid().fit(normalize(features[train]), labels[train])
    theirs.centroids_ = normalize(theirs.centroids_)  # between unit vectors the nearest has the largest cosine
    assert ours.tolist() == theirs.predict(normalize(features[test])).tolist()


def test_scores_ignore_the_scale_of_each_feature(random):
    features, labels = clouds(random)
    scale = 10 * torch.rand(len(features), 1, generator=random) + 0.1
    plain = ncm_scores(features, class_means(features, labels, 5))
    assert torch.allclose(plain, ncm_scores(features * scale, class_means(features * scale, labels, 5)), atol=1e-6)
    assert plain.abs().max() <= 1 + 1e-12


def test_a_class_without_training_samples_is_never_predicted(random):
    features, labels = clouds(random)
    kept = labels != 2
    scores = ncm_scores(features, class_means(features[kept], labels[kept], 5))
    assert torch.isneginf(scores[:, 2]).all()
    assert scores[:, [0, 1, 3, 4]].isfinite().all()


def test_margins_are_positive_where_the_label_leads(random):
    scores, labels = torch.randn(30, 5, generator=random), torch.randint(5, (30,), generator=random)
    expected = [row[y] - max(value for c, value in enumerate(row) if c != y) for row, y in zip(scores.tolist(), labels.tolist())]
    assert ncm_margins(scores, labels).tolist() == pytest.approx(expected)
    assert torch.equal(ncm_margins(scores, labels) > 0, scores.argmax(1) == labels)
