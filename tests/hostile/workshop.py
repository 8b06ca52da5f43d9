"""A project folder with one of everything that users bring, all of it sound and very small."""

import json
import shutil
from pathlib import Path

import numpy as np
import safetensors.torch
import timm
import torch

from analysis_lib.benchmarks.own_manifest import OwnData, create_manifest
from tests.benchmarks.own_images import class_folders, picture, save

REPOSITORY = Path(__file__).resolve().parents[2]
ARCH = "test_resnet"
NAMES = ["ash", "birch", "cedar"]
SWEEP = {"title": "Rates", "benchmark": "digits", "seeds": [0], "runs": {"default": [{"lr": [0.01, 0.1]}]}}


def logits():
    """Logits (12, 3) and labels (12,) of the seen classes 0 and 1."""
    return np.random.default_rng(0).normal(size=(12, 3)).astype("float32"), np.arange(12) % 2


def save_logits(path, z=None, labels=None, **others):
    """An `.npz` of ready logits; what is not given is sound."""
    own = logits()
    np.savez(path, logits=own[0] if z is None else z, labels=own[1] if labels is None else labels, **others)


def build(root):
    """Fill `root`, the project folder and the current one.

    pictures/ has all classes and is the manifest `mine`; seen/ has two of them for fine-tuning.
    """
    (root / "data_manifests").mkdir()
    for suffix in ("json", "csv"):
        shutil.copy(REPOSITORY / "data_manifests" / f"digits.{suffix}", root / "data_manifests")
    class_folders(root / "pictures", images=4, classes=NAMES)
    class_folders(root / "seen", images=3, classes=NAMES[:2], first=1000)
    create_manifest(OwnData("mine", root / "pictures", model=ARCH, image_size=16, seen="ash,birch"))
    torch.manual_seed(0)
    model = timm.create_model(ARCH, num_classes=3)
    torch.save(model.state_dict(), root / "model.pth")
    safetensors.torch.save_file(model.state_dict(), root / "model.safetensors")
    (root / "names.txt").write_text("\n".join(NAMES) + "\n")
    (root / "seen.txt").write_text("ash\nbirch\n")
    listed = [f"seen/{name}/{i}.png {name}" for name in NAMES[:2] for i in range(3)]
    (root / "list.txt").write_text("\n".join(listed) + "\n")
    table = [f"pictures/{name}/{i}.png,{name}" for name in NAMES for i in range(4)]
    (root / "table.csv").write_text("\n".join(["path,label", *table]) + "\n")
    save_logits(root / "logits.npz")
    (root / "sweep.json").write_text(json.dumps(SWEEP))
    (root / "notebooks").mkdir()
    (root / "runs").mkdir(exist_ok=True)  # where locks lie
    shutil.copy(REPOSITORY / "notebooks" / "01_fine_tuning.ipynb", root / "notebooks")
    save(root.parent / "outside" / "secret.png", picture(7))
