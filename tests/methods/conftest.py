"""Tiny networks, tiny data and short runs, for any method."""

import copy

import pytest
import timm
import torch

from analysis_lib.core.run_spec import RunSpec
from analysis_lib.core.seeds import generator_for
from analysis_lib.models.create import create_random_model
from analysis_lib.training.loop import train
from analysis_lib.training.method import TrainingData

CLASSES = 6  # of which 1, 2, 4 and 5 are seen
SEEN = (1, 2, 4, 5)


@pytest.fixture(scope="session")
def network():
    """A function: a fresh network in float64, always with the same random weights."""
    made = {}

    def make(name: str = "digits_cnn") -> torch.nn.Module:
        if name not in made:
            if name == "digits_cnn":
                made[name] = create_random_model(name, CLASSES, 0)
            else:
                torch.manual_seed(0)
                size = {"img_size": 32} if "vit" in name else {}
                made[name] = timm.create_model(name, num_classes=CLASSES, **size).double()
            with torch.no_grad():  # zeros, as in biases and the last BatchNorm of a block, would hide errors
                for parameter in made[name].parameters():
                    parameter += 0.05 * torch.randn(parameter.shape, generator=generator_for("zeros"))
        return copy.deepcopy(made[name])

    return make


@pytest.fixture
def data():
    """A function: images of the seen classes, each class with its own colours, between rows that are never used."""

    def make(name: str = "toy", per_class: int = 4, batch_size: int = 5, size: int = 16) -> TrainingData:
        draws = generator_for("images")
        labels = torch.arange(CLASSES).repeat(per_class)
        images = torch.randint(100, (len(labels), 3, size, size), generator=draws, dtype=torch.uint8)
        images += (20 * labels[:, None] * torch.tensor([1, 0, 1])).to(torch.uint8)[:, :, None, None]
        rows = torch.isin(labels, torch.tensor(SEEN)).nonzero().flatten()

        def augmented(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            noise = torch.randn(batch.shape, generator=generator, dtype=torch.float64)
            return batch.double() / 128 - 0.5 + 0.02 * noise

        return TrainingData(images, labels, rows, batch_size, augmented, name)

    return make


@pytest.fixture
def fit(network, data, tmp_path, monkeypatch):
    """A function: train a network by a method in a folder of its own, and return it.

    All runs have the same id, whatever the method, and so the same random streams.
    """
    count = iter(range(10**6))

    def run(method, name: str = "digits_cnn", after_epoch=lambda epoch, model: None, fresh: bool = True, **changes):
        fields = {"epochs": 2, "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3, "batch_size": 5} | changes
        spec = RunSpec("toy", "", name, "", seed=0, **fields)
        monkeypatch.setattr(RunSpec, "run_id", "toy")
        if fresh:
            monkeypatch.setenv("FTC_ROOT", str(tmp_path / str(next(count))))
        model = network(name)
        size = 16 if name == "digits_cnn" else 32
        train(model, method, data(batch_size=spec.batch_size, size=size), spec, after_epoch)
        return model

    return run


@pytest.fixture
def batch(data):
    """A batch: images of the seen classes, and their labels."""
    toy = data(size=32)
    return toy.batch(toy.rows[torch.tensor([0, 1, 2, 3, 6, 9])], generator_for("batch"))


@pytest.fixture(scope="session")
def same():
    """A function: whether two networks have equal bytes in all weights and buffers, but for those in `without`."""

    def compare(one: torch.nn.Module, two: torch.nn.Module, without: tuple[str, ...] = ()) -> bool:
        states = one.state_dict(), two.state_dict()
        assert states[0].keys() == states[1].keys()
        names = [name for name in states[0] if not any(part in name for part in without)]
        return bool(names) and all(torch.equal(states[0][name], states[1][name]) for name in names)

    return compare
