"""The same numbers on every processor: draws are equal to the bit, and what is trained from them to rounding."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from analysis_lib.analysis.stats.bootstrap import draw_resamples
from analysis_lib.benchmarks import digits
from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.benchmarks.preprocess import normalizer
from analysis_lib.core import paths
from analysis_lib.core.seeds import GRID, generator_for, normal_draws, on_grid
from analysis_lib.models import create
from analysis_lib.runs import class_folds, plan
from analysis_lib.runs.outputs import load_outputs
from analysis_lib.studies.toy import network
from analysis_lib.training.augmentation import augment, draw_crops

REPOSITORY = Path(__file__).resolve().parents[2]
LOWEST = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
KEPT = {
    "crops": "9d9ac22c378660d7",
    "crops of many images": "4dee86418e41388c",
    "initial weights": "904da201b32233db",
    "initial weights of timm's ResNet-18": "355cb2c73e985e55",
    "normal draws": "d658018cc7d867f0",
    "source images": "cdf3196683efd653",
    "images": "db01bced49eb3ecb",
    "class splits": "c202870299fe52f7",
    "folds": "368bad807455620c",
    "resamples": "fd6907155ad0196b",
    "toy points": "14fff628cffae8ad",
    "toy weights": "7fc23885f84110b1",
}
KEPT_BATCH = "0457962a5d22b70c"


def sha256(*tensors):
    return hashlib.sha256(b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors)).hexdigest()[:16]


def drawn(n=7, flip=True):
    return draw_crops(n, (0.7, 1.0), flip, generator_for("test", "crops"))


def test_what_is_drawn_has_the_kept_hash(project):
    """Kept from one machine; every other must draw the same."""
    manifest = load_manifest("digits")
    folds = [names for spec in class_folds.half_specs(plan.plan("digits", "smoke", [0])[0]) for names in spec.seen]
    found = {
        "crops": sha256(drawn()),
        "crops of many images": sha256(drawn(4096)),
        "initial weights": sha256(*create.create_random_model("digits_cnn", 10, 0).state_dict().values()),
        "initial weights of timm's ResNet-18": sha256(
            *create.create_random_model("resnet18", 10, 0).state_dict().values()
        ),
        "normal draws": sha256(normal_draws((1000,), "test")),
        "source images": sha256(*digits.source_images()),
        "images": sha256(load_images(manifest)),
        "class splits": sha256(*(torch.tensor(manifest.class_split(seed).seen) for seed in range(5))),
        "folds": sha256(torch.tensor([int(name) for name in folds])),
        "resamples": sha256(*draw_resamples(50, 3, generator_for("test"), 100)),
        "toy points": sha256(network.make_data(network.ToyConfig()).source.x),
        "toy weights": sha256(*network.ToyNet(network.ToySource()).state_dict().values()),
    }
    assert found == KEPT


def test_an_augmented_batch_has_the_kept_hash():
    """Interpolation may differ in the last bits of a float64, which eight decimals do not show."""
    images = (torch.arange(5 * 3 * 16 * 16).view(5, 3, 16, 16) * 37 % 256).to(torch.uint8)
    batch = normalizer([0.5] * 3, [0.25] * 3, torch.float64, torch.device("cpu"))(images)
    crops = augment(batch, (0.7, 1.0), True, generator_for("test"))
    assert sha256((crops * 1e8).round().long()) == KEPT_BATCH


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_crops_lie_on_a_grid_that_float32_holds(dtype):
    crops = drawn(1000)
    assert (crops.to(dtype).double() == crops).all() and (crops / GRID == (crops / GRID).round()).all()


def test_the_grid_absorbs_last_bits_and_changes_nothing_else():
    x = torch.rand(10_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert (on_grid(x) - x).abs().max() <= GRID / 2
    assert (on_grid(x * (1 + 1e-15)) == on_grid(x)).all()


SMOKE = "from analysis_lib.runs import execute, plan; execute.execute(plan.plan('digits', 'smoke', [0])[0], 'cpu')"


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Folders with the smoke run of seed 0, made as the machine is and at the lowest level with one and two threads."""
    plain = {name: value for name, value in os.environ.items() if name not in LOWEST}
    folders = {}
    for name, level, threads in (("native", {}, 1), ("lowest", LOWEST, 1), ("lowest, two threads", LOWEST, 2)):
        folders[name] = tmp_path_factory.mktemp("level")
        (folders[name] / "data_manifests").symlink_to(REPOSITORY / "data_manifests")
        environment = plain | level | {"FTC_ROOT": str(folders[name]), "OMP_NUM_THREADS": str(threads)}
        subprocess.run([sys.executable, "-c", SMOKE], cwd=REPOSITORY, env=environment, check=True, capture_output=True)
    return folders


@pytest.mark.parametrize("other", ["lowest", "lowest, two threads"])
def test_the_smoke_network_is_the_same_on_another_processor(trained, other, monkeypatch):
    logits = {}
    for name in ("native", other):
        monkeypatch.setenv("FTC_ROOT", str(trained[name]))
        (spec,) = plan.plan("digits", "smoke", [0])
        logits[name] = torch.stack(
            [load_outputs(paths.run_outputs(spec.run_id, epoch, "test")).logits for epoch in range(spec.epochs + 1)]
        )
    assert logits["native"].dtype == torch.float64 and logits["native"].abs().max() > 1
    assert (logits["native"] - logits[other]).abs().max() < 1e-9
