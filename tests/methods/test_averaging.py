"""Averages of weights: SWA and WiSE."""

import math

import pytest
import torch

from analysis_lib.methods.averaging import SWA, WiSE
from analysis_lib.methods.finetune import FineTune
from analysis_lib.models.batchnorm import reestimate

BATCHNORM = ("running", "num_batches")


def recording(kind, steps):
    """The method, which also keeps the weights and the learning rate of every step in the list."""

    class Recording(kind):
        def after_step(self, model, optimizer, step, total):
            super().after_step(model, optimizer, step, total)
            weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
            steps.append((weights, optimizer.param_groups[0]["lr"]))

    return Recording


@pytest.mark.parametrize("start", [0.0, 0.4, 0.5, 0.99])
def test_swa_is_the_plain_mean_of_the_second_part(fit, data, network, same, start):
    steps, plain = [], []
    model = fit(recording(SWA, steps)(start=start), epochs=3)
    fit(recording(FineTune, plain)(), epochs=3)
    first = math.floor(start * len(steps))
    assert len(steps) == 3 * 4 == len(plain)
    for (weights, rate), (expected, expected_rate) in zip(steps[: first + 1], plain):
        assert rate == expected_rate and all(torch.equal(weights[name], expected[name]) for name in weights)
    assert {rate for _, rate in steps[first:]} == {steps[first][1]}, "a constant rate"
    means = {name: torch.stack([weights[name] for weights, _ in steps[first:]]).mean(0) for name in steps[0][0]}
    assert all(torch.allclose(p, means[name], atol=1e-13) for name, p in model.named_parameters())
    again = network()
    again.load_state_dict(model.state_dict())
    for layer in (again.blocks[1], again.blocks[4]):
        layer.reset_running_stats()
    reestimate(again, data().passes("batchnorm"))
    assert same(again, model, without=("num_batches",)), "BatchNorm's statistics are those of the averaged weights"


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("name", ["digits_cnn", "test_vit"])
def test_wise_lies_between_the_start_and_plain_fine_tuning(fit, network, same, name, alpha):
    model, tuned, start = fit(WiSE(alpha), name, epochs=1), fit(FineTune(), name, epochs=1), network(name)
    if alpha in (0.0, 1.0):
        assert same(model, {0.0: start, 1.0: tuned}[alpha], without=BATCHNORM)
        assert not same(start, tuned, without=BATCHNORM)
    ends = dict(start.named_parameters()), dict(tuned.named_parameters())
    for key, parameter in model.named_parameters():
        assert torch.allclose(parameter, (1 - alpha) * ends[0][key] + alpha * ends[1][key], atol=1e-13)


def test_wise_has_statistics_of_the_fine_tuning_images(fit, network, data, same):
    model, expected = fit(WiSE(0.0)), network()
    reestimate(expected, data().passes("batchnorm"))
    assert same(model, expected, without=("num_batches",))


@pytest.mark.parametrize("method", [SWA(), WiSE()], ids=str)
def test_at_learning_rate_0_the_weights_stay(fit, network, same, method):
    assert same(fit(method, lr=0.0), network(), without=BATCHNORM)
