"""Files whose unpickling would run code: through no door does it run."""

import os
import pickle
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis_lib.cli import main
from tests.hostile.checkpoints import FINETUNE, FOLDER, IMPORT
from tests.hostile.pictures import CALIBRATE
from tests.hostile.ready_logits import LABELS, READY

WITNESS = "witness"


class Harm:
    """An object that makes a file when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path(WITNESS),)


def alone(path):
    """A pickle and nothing else."""
    Path(path).write_bytes(pickle.dumps(Harm()))


def by_torch(path):
    """A checkpoint as torch saves it."""
    torch.save({"fc.weight": Harm()}, path)


def by_old_torch(path):
    """A checkpoint as torch saved it years ago."""
    torch.save({"fc.weight": Harm()}, path, _use_new_zipfile_serialization=False)


def by_numpy(path):
    """An array of objects."""
    np.save(path, np.array([Harm()], dtype=object), allow_pickle=True)


def in_archive(path):
    """An archive of an array of objects."""
    np.savez(path, logits=np.array([[Harm()]], dtype=object), labels=LABELS)


def raw_in_archive(path):
    """An archive whose entry is a pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("logits.npy", pickle.dumps(Harm()))


def in_folder(path):
    """A folder of transformers that has pickled weights alone."""
    Path(path).mkdir()
    Path(path, "config.json").write_text('{"model_type": "vit", "architectures": ["ViTForImageClassification"]}')
    by_torch(Path(path, "pytorch_model.bin"))


WEIGHTS = [
    (make, f"{command} bad{suffix}")
    for make in (alone, by_torch, by_old_torch)
    for suffix in (".pth", ".pt", ".bin", ".tar", ".safetensors")
    for command in (
        f"{CALIBRATE} --checkpoint",
        f"{CALIBRATE} --pretrained",
        f"{FINETUNE} --checkpoint",
        f"{IMPORT} --weights",
    )
]
SOURCES = [
    (make, f"{READY} --{option} bad{suffix}")
    for make in (alone, by_torch, by_numpy, in_archive, raw_in_archive)
    for suffix in (".npz", ".npy", ".pt", ".pth", ".safetensors", ".csv")
    for option in ("data", "pretrained", "test", "held-out", "unlabelled")
    if (make not in (by_numpy, in_archive)) or suffix == (".npy" if make is by_numpy else ".npz")
]
OTHERS = [
    (in_folder, FOLDER.replace("net", "bad")),
    (alone, "manifest create bad.csv --name trees"),
    (alone, "manifest create bad.pkl --name trees"),
    (alone, "sweep bad.json --list"),
    (alone, "notebook bad.ipynb"),
    (alone, f"{CALIBRATE} --classes bad.txt"),
    (alone, f"{CALIBRATE} --seen bad.txt"),
    (alone, f"{CALIBRATE} --data bad.json"),
]


@pytest.mark.parametrize(
    ("make", "command"), WEIGHTS + SOURCES + OTHERS, ids=lambda part: part if isinstance(part, str) else part.__name__
)
def test_a_pickle_runs_nothing(project, make, command, capsys):
    make(next(word for word in shlex.split(command) if word.startswith("bad")))
    assert main(shlex.split(command)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert not os.path.exists(WITNESS)


def test_the_witness_would_appear(project):
    alone("bad.pth")
    pickle.loads(Path("bad.pth").read_bytes())
    assert os.path.exists(WITNESS)
