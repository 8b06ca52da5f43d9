import pytest
import torch

from analysis_lib.benchmarks import preprocess
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.benchmarks.preprocess import normalizer, resident
from analysis_lib.benchmarks.stream import in_order
from analysis_lib.core.device import free_memory, to_device

CPU, ELSEWHERE = torch.device("cpu"), torch.device("meta")  # stands in for a GPU: another device than the images'


@pytest.fixture
def images(random):
    return torch.randint(0, 256, (10, 3, 8, 8), dtype=torch.uint8, generator=random)


def test_on_the_cpu_images_stay_the_tensor_that_they_are(images):
    assert resident(images, CPU) is images
    assert to_device(images, CPU) is images


@pytest.mark.parametrize(("free", "device"), [(1 / preprocess.SHARE, "meta"), (0.99 / preprocess.SHARE, "cpu")])
def test_images_move_where_they_fit_into_a_share_of_the_free_memory(images, monkeypatch, free, device):
    monkeypatch.setattr(preprocess, "free_memory", lambda _: free * images.nbytes + 1)
    moved = resident(images, ELSEWHERE)
    assert moved.device.type == device
    assert moved.dtype == torch.uint8


def test_batches_of_resident_images_are_made_on_their_device(images):
    """Row numbers stay on the CPU; nothing is copied to the device but them."""
    (batch,) = in_order(images.to(ELSEWHERE), [torch.tensor([3, 1])])
    assert (batch.device.type, batch.shape) == ("meta", (2, 3, 8, 8))
    made = normalizer([0.5] * 3, [0.25] * 3, torch.float32, ELSEWHERE)(batch)
    assert (made.device.type, made.dtype) == ("meta", torch.float32)
    assert made.is_contiguous(memory_format=torch.channels_last)


def test_streamed_images_are_never_resident():
    streamed = object.__new__(preprocess.StreamedImages)
    assert resident(streamed, ELSEWHERE) is streamed


def test_only_a_gpu_has_a_limit():
    assert free_memory(CPU) == float("inf")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_batches_are_those_of_the_cpu():
    device, head = torch.device("cuda"), load_manifest("digits").head
    images = torch.randint(0, 256, (64, 3, 16, 16), dtype=torch.uint8)
    on_gpu = resident(images, device)
    assert on_gpu.is_cuda
    rows = [torch.tensor([5, 2, 60])]
    normalize = normalizer(head.mean, head.std, torch.float64, device)
    expected = normalizer(head.mean, head.std, torch.float64, CPU)(images[rows[0]])
    for held in (images, on_gpu):
        (batch,) = in_order(held, rows)
        torch.testing.assert_close(normalize(batch).cpu(), expected)
