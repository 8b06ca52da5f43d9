import math

import pytest
import torch

from analysis_lib.core.run_spec import RunSpec
from analysis_lib.methods.finetune import FineTune
from analysis_lib.training import loop
from analysis_lib.training.method import TrainingData
from analysis_lib.training.optimizers import create_optimizer
from analysis_lib.training.warm_up import warm_up


def test_the_rate_rises_in_even_steps_and_then_stays():
    assert [warm_up(step, 20, 0.2) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert [warm_up(step, 9, 0.2) for step in range(3)] == [0.5, 1.0, 1.0], "a part of a step counts as one"
    assert {warm_up(step, 9, 0.0) for step in range(9)} == {1.0}


@pytest.mark.parametrize("percent", range(1, 100))
def test_a_whole_number_of_steps_is_not_rounded_up(percent):
    """In floats, 0.07 * 100 is more than 7."""
    fraction = percent / 100
    assert warm_up(percent - 1, 100, fraction) == 1.0
    assert percent == 1 or warm_up(percent - 2, 100, fraction) < 1.0


@pytest.mark.parametrize("warmup", [0.0, 0.5])
def test_the_loop_multiplies_the_method_s_rate(monkeypatch, warmup):
    """Over two epochs of four steps, the rates that the optimiser steps with."""
    spec = RunSpec("b", "", "m", "", seed=0, epochs=2, lr=0.1, warmup=warmup, batch_size=2)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    images, labels = torch.zeros(8, 3, 2, 2, dtype=torch.uint8), torch.arange(8) % 3
    data = TrainingData(images, labels, torch.arange(8), 2, lambda batch, generator: batch.float(), spec.run_id)
    optimizer = create_optimizer(model.parameters(), spec)
    rates, real = [], optimizer.step

    def step():
        rates.append(optimizer.param_groups[0]["lr"])
        return real()

    monkeypatch.setattr(optimizer, "step", step)
    for epoch in (1, 2):
        loop.train_epoch(model, FineTune(), optimizer, data, spec, epoch)
    rising = [0.25, 0.5, 0.75, 1, 1, 1, 1, 1] if warmup else [1] * 8
    assert rates == pytest.approx([0.1 * rising[k] * (1 + math.cos(math.pi * k / 8)) / 2 for k in range(8)], rel=1e-12)
