"""From 300 images in 12 class folders and a stock ImageNet checkpoint to notebooks and a calibrated checkpoint."""

import json
import subprocess
from pathlib import Path

import nbformat
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image

from analysis_lib.cli import main
from analysis_lib.core import paths

REPOSITORY = Path(__file__).resolve().parents[2]
ARCH = "test_resnet"
# names, synonyms and an id of ImageNet, as people name their folders
CLASSES = (
    ["tabby", "n02099601", "speedboat", "beer glass", "mailbox", "umbrella"]  # seen
    + ["padlock", "hourglass", "sorrel", "tiger", "purse", "cab"]
)


@pytest.fixture
def photos(tmp_path):
    """25 noisy patches of one colour for each class."""
    random = np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        colour = np.array([number % 3, number // 3 % 2, number // 6]) * [90, 160, 160] + 30
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for each in range(25):
            pixels = np.clip(colour + random.normal(0, 20, (40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{each}.png")
    return tmp_path / "photos"


@pytest.fixture
def stock(tmp_path):
    """A checkpoint with ImageNet's 1,000 outputs, as timm gives it."""
    torch.manual_seed(0)
    path = tmp_path / "stock.safetensors"
    safetensors.torch.save_file(timm.create_model(ARCH).state_dict(), path)
    return path


def test_from_a_folder_to_notebooks_and_a_calibrated_checkpoint(project, photos, stock):
    create = ["manifest", "create", str(photos), "--name", "mine", "--seen", ",".join(CLASSES[:6])]
    assert main(create) == 0
    network = ["manifest", "network", "mine", "--model", ARCH, "--weights", str(stock), "--image-size", "32"]
    assert main(network) == 0
    settings = ["benchmark=mine", "profile=smoke", "seeds=0", "device=cpu"]
    assert main(["notebook", str(REPOSITORY / "notebooks" / "01_fine_tuning.ipynb"), *settings]) == 0
    executed = nbformat.read(paths.executed_notebook("mine", "01_fine_tuning"), as_version=4)
    assert all(cell.outputs or cell.execution_count for cell in executed.cells if cell.cell_type == "code")
    assert paths.figure("mine", "01_accuracy_by_epoch", "png").exists()
    output, manifest = project / "calibrated.safetensors", paths.manifest_head("mine")
    finetune = ["finetune", "--model", ARCH, "--checkpoint", str(stock), "--image-size", "32", "--device", "cpu"]
    finetune += ["--data", str(manifest), "--test", str(manifest), "--output", str(output), "--epochs", "1"]
    assert main(finetune) == 0
    model = timm.create_model(ARCH, num_classes=12)
    model.load_state_dict(safetensors.torch.load_file(output))
    report = json.loads(output.with_suffix(".json").read_text())
    names = json.loads(manifest.read_text())["class_names"]
    assert sorted(names[c] for c in report["seen"]) == sorted(CLASSES[:6]) and len(names) == 12


def test_make_reproduce_imports_the_network_and_runs_every_notebook():
    command = ["make", "-n", "reproduce", "BENCHMARK=digits", "MODEL=resnet50", "WEIGHTS=stock.safetensors"]
    lines = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()
    own = [line for line in lines if "-m analysis_lib " in line]
    assert 'manifest network digits --model resnet50 --weights "stock.safetensors"' in own[0]
    assert " run digits " in own[1]
    notebooks = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
    assert sorted(line.split("notebooks/")[1].split()[0] for line in own[2:]) == [path.name for path in notebooks]
