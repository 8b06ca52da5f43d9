"""Ctrl-C and SIGTERM in a real terminal: one line, the exit code of a shell, and nothing goes on or is left."""

import json
import re
import sys

import pytest
import timm
import torch

from tests.deploy.newcomer import ARCH, LOOK, NAMES, SEEN, dataset, save_images
from tests.stress.commands import MAKEFILE, NOTEBOOK, PACKAGE, PROGRAM, REPOSITORY, RUN, copy, interrupted, left_over

LINE = "interrupted; the same command continues where it stopped"
CODES = {"Ctrl-C": 130, "SIGTERM": 143}
SEEN_NAMES = ",".join(NAMES[label] for label in SEEN)


def in_an_epoch(text):
    return "epoch 1/" in text


@pytest.fixture
def root(project, tmp_path):
    """A project folder with a sweep, and with a network and images of ten classes."""
    grids = [{"lr": [0.01, 0.02, 0.03], "epochs": 40}]
    sweep = {"title": "Long runs", "benchmark": "digits", "seeds": [0], "runs": {"smoke": grids}}
    (project / "long.json").write_text(json.dumps(sweep))
    torch.manual_seed(0)
    torch.save(timm.create_model(ARCH, num_classes=10).state_dict(), project / "network.pth")
    (project / "names.txt").write_text("\n".join(NAMES))
    save_images(project / "photos", *dataset(SEEN, 6, False, torch.Generator().manual_seed(0)))
    return project


def command(verb, root):
    network, written = root / "network.pth", root / "out" / "tuned.safetensors"
    training = ["--model", ARCH, "--checkpoint", network, "--classes", root / "names.txt", "--data", root / "photos"]
    training += [*LOOK, "--batch-size", "5", "--epochs", "200", "--lr", "0.01", "--output", written]
    return {
        "run": [*RUN, "--processes", "2"],
        "sweep": ["sweep", root / "long.json", "--profile", "smoke", "--device", "cpu", "--workers", "2"],
        "notebook": NOTEBOOK,
        "finetune": ["finetune", *training],
        "calibrate": ["calibrate", *training, "--pretrained", network, "--seen", SEEN_NAMES, "--folds"],
    }[verb]


@pytest.mark.parametrize(
    ("verb", "by"),
    [
        ("run", "Ctrl-C"),
        ("sweep", "Ctrl-C"),
        ("notebook", "Ctrl-C"),
        ("notebook", "SIGTERM"),
        ("finetune", "Ctrl-C"),
        ("calibrate", "Ctrl-C"),
    ],
)
def test_an_interruption_is_one_line_and_ends_everything(root, verb, by):
    def training(text):
        return any((root / "runs").rglob("checkpoint.safetensors")) if verb == "notebook" else in_an_epoch(text)

    ended = interrupted([*PROGRAM, *command(verb, root)], root, by, training)
    said = [line for line in ended.after_interruption.splitlines() if line and " epoch " not in line]
    assert said == [LINE]
    assert ended.code == CODES[by]
    # in a run's folder the next process that makes it removes what a worker left
    assert [each for each in left_over(root) if not str(each).startswith("runs/")] == []
    assert not (root / "out").exists() and not list((root / "executed").glob("*/*"))


@pytest.mark.parametrize("by", CODES)
def test_make_passes_an_interruption_on_and_ends_by_it(tmp_path, by):
    """In a copy of the checkout, with this Python in the place of the environment that `make setup` makes."""
    copy(MAKEFILE, tmp_path)
    for name in PACKAGE:
        (tmp_path / name).symlink_to(REPOSITORY / name)
    make = ["make", f"PY={sys.executable}", "--old-file=.venv/ready", "reproduce"]
    make += ["BENCHMARK=digits", "PROFILE=smoke", "SEEDS=0", "DEVICE=cpu"]
    ended = interrupted(make, tmp_path, by, in_an_epoch, folder=tmp_path)
    said = [line for line in ended.after_interruption.splitlines() if line and " epoch " not in line]
    assert said.count(LINE) == 1 and all(line == LINE or re.match(r"make(\[\d+\])?: ", line) for line in said)
    assert ended.code == CODES[by]
    assert [each for each in left_over(tmp_path) if not str(each).startswith("runs/")] == []
    assert not (tmp_path / "executed" / "digits" / "runs").exists()
