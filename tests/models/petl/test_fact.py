"""FacT against its changes of weights, matrix by matrix."""

import math

import pytest
import torch

from analysis_lib import UserError
from analysis_lib.core.seeds import generator_for
from analysis_lib.models.petl import TECHNIQUES
from analysis_lib.models.petl.inserted import inserted_parameters
from tests.models.petl.small_vit import DEPTH, VARIANTS, D, close, images, is_uniform, vit, with_inserted

SHAPES = {"attn.qkv": (1, 3), "attn.proj": (1, 1), "mlp.fc1": (1, 4), "mlp.fc2": (4, 1)}  # inputs and outputs, in D
R, SCALE = 4, 0.5


def train_core(network, place, i, o, index):
    return place.inserted.matrices[i, :, o, :]


def tucker_core(network, place, i, o, index):
    """The shared core, contracted with the column of the matrix."""
    total = torch.zeros(R, R, dtype=torch.float64)
    for k in range(R):
        total = total + network.inserted.core[:, :, k] * network.inserted.columns[k, index]
    return total


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("name", "core"), [("fact_tt", train_core), ("fact_tk", tucker_core)])
@torch.no_grad()
def test_the_change_of_every_matrix_is_u_t_v(name, core, variant):
    """Matrices are counted along the blocks: q, k, v, o, four of fc1, four of fc2."""
    network, plain = with_inserted(name, variant, rank=R, scale=SCALE), vit(variant)
    index = 0
    for number in range(DEPTH):
        for layer, (inputs, outputs) in SHAPES.items():
            place, weight = (m.blocks[number].get_submodule(layer) for m in (network, plain))
            for i in range(inputs):
                for o in range(outputs):
                    change = network.inserted.u @ core(network, place, i, o, index) @ network.inserted.v
                    weight.weight[o * D : (o + 1) * D, i * D : (i + 1) * D] += SCALE * change.T
                    index += 1
    assert index == 12 * DEPTH and close(network(images()), plain(images()))


def test_the_start_of_a_tensor_train():
    network = with_inserted("fact_tt", trained=False, rank=32)
    assert is_uniform(network.inserted.u, D**-0.5) and not network.inserted.v.any()
    for layer, (inputs, _) in SHAPES.items():
        cores = [block.get_submodule(layer).inserted.matrices.flatten() for block in network.blocks]
        assert is_uniform(torch.cat(cores), (32 * inputs) ** -0.5), layer
    assert network.blocks[0].mlp.fc2.inserted.dropout.p == 0.1


def test_the_start_of_tuckers_form():
    factors = with_inserted("fact_tk", trained=False, rank=16).inserted
    assert is_uniform(factors.u, D**-0.5) and not factors.v.any()
    assert factors.core.shape == (16, 16, 16) and factors.columns.shape == (16, 12 * DEPTH)
    assert is_uniform(factors.core, math.sqrt(6 / (16 * 16 + 16 * 16)))
    assert is_uniform(factors.columns, math.sqrt(6 / (16 + 12 * DEPTH)))


@pytest.mark.parametrize("name", ["fact_tt", "fact_tk"])
def test_every_factor_trains(name):
    network = with_inserted(name)
    network(images()).square().sum().backward()
    assert all(parameter.grad.any() for parameter in inserted_parameters(network))


@pytest.mark.parametrize("name", ["fact_tt", "fact_tk"])
def test_a_width_that_is_no_multiple_is_one_sentence(name):
    with pytest.raises(
        UserError, match=r"^FacT-T. needs .* a multiple of 16, and mlp.fc1 has 16 inputs and 40 outputs"
    ):
        TECHNIQUES[name]().insert(vit(mlp_ratio=2.5), generator_for("inserted"))
