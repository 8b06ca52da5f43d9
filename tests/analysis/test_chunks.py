"""What is computed some rows at a time is what is computed on all of them."""

import pytest
import torch
from torch.nn.functional import normalize

from analysis_lib import ClassSplit, average_logit_gap
from analysis_lib.analysis import chunks
from analysis_lib.analysis.metrics import feature_drift, feature_space, linear_probe, ncm

N, C, D = 50, 6, 300
SPLIT = ClassSplit(C, [0, 2, 5])


@pytest.fixture
def samples(random):
    labels = torch.arange(N) % C
    before = torch.randn(N, D, generator=random)
    return before, before + torch.randn(N, D, generator=random), labels


def in_chunks_and_whole(monkeypatch, compute):
    found = []
    for rows in (7, N):
        monkeypatch.setattr(chunks, "ROWS", rows)
        found.append(compute())
    return found


def test_chunks_cover_every_row_once(monkeypatch):
    for n, rows in ((0, 3), (1, 1), (1, 3), (3, 3), (10, 3)):
        monkeypatch.setattr(chunks, "ROWS", rows)
        numbers = torch.arange(n)
        assert len(list(chunks.chunks(n))) == max(1, -(-n // rows)), "no empty one but for n = 0"
        assert torch.equal(torch.cat([numbers[part] for part in chunks.chunks(n)]), numbers)
        assert torch.equal(
            chunks.by_rows(lambda a, b: a * b[:, None], numbers[:, None], numbers), numbers[:, None] ** 2
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_over_rows_keep_their_order_so_their_bytes_are_equal(samples, monkeypatch, dtype):
    before, after, labels = (tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in samples)
    some, whole = in_chunks_and_whole(monkeypatch, lambda: ncm.class_means(after, labels, C + 1))
    assert torch.equal(some[:C], whole[:C]) and some[C].isnan().all()
    unit = normalize(after.double(), dim=1)
    sums = unit.new_zeros(C, D).index_add_(0, labels, unit)
    assert torch.equal(whole[:C], normalize(sums, dim=1))
    some, whole = in_chunks_and_whole(monkeypatch, lambda: feature_drift.displacement(before, after, labels, SPLIT))
    assert some == whole


def test_distances_of_rows_are_equal_bytes(samples, monkeypatch):
    train, test, labels = samples
    some, whole = in_chunks_and_whole(
        monkeypatch, lambda: feature_drift.dispersion(train, labels, test, labels.flip(0), SPLIT)
    )
    assert some.equals(whole) and len(whole) == 16 and whole["distance"].notna().all()


def test_products_with_chunks_are_equal_up_to_rounding(samples, monkeypatch):
    train, test, labels = samples
    means = ncm.class_means(train, labels, C)
    some, whole = in_chunks_and_whole(monkeypatch, lambda: ncm.ncm_scores(test, means))
    assert torch.allclose(some, whole, rtol=0, atol=D * 2**-53)
    assert torch.equal(whole, normalize(test.double(), dim=1) @ means.T)
    some, whole = in_chunks_and_whole(monkeypatch, lambda: linear_probe.linear_probe_scores(train, labels, test, C + 1))
    assert torch.allclose(some[:, :C], whole[:, :C], rtol=0, atol=1e-12)
    assert some.isinf().sum() == whole.isinf().sum() == N


def test_centred_features_are_equal_bytes(samples, monkeypatch):
    features, _, _ = samples
    some, whole = in_chunks_and_whole(monkeypatch, lambda: feature_space._centred(features))
    assert torch.equal(some, whole)
    assert torch.equal(whole, features.double() - features.double().mean(0))


def test_the_average_logit_gap(monkeypatch, random):
    logits, labels = torch.randn(N, C, generator=random), torch.tensor(SPLIT.seen)[torch.arange(N) % 3]
    some, whole = in_chunks_and_whole(monkeypatch, lambda: average_logit_gap(logits, labels, SPLIT))
    assert some == pytest.approx(whole, abs=1e-12)
