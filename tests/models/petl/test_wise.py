"""Between the pre-trained network and one with inserted modules: the ends are exact, and so is the line between."""

import pytest
import timm
import torch

from analysis_lib import UserError
from analysis_lib.models.petl.inserted import folded_state, is_inserted, places, plain_state
from analysis_lib.models.petl.wise import interpolated
from analysis_lib.models.weight_space import interpolate
from tests.models.petl.small_vit import INSERTING, PROMPTS, close, images, jitter, vit, with_inserted

OWN_WEIGHTS_TOO = {"difffit": ("bias", "norm")}
LINEAR = ["lora", "fact_tt", "fact_tk", "repadapter", "ssf"]  # their changes of the weights are, in the factor


def trained(name):
    """A network whose modules, head, and own weights that the technique trains, have moved."""
    network = with_inserted(name)
    moved = ("head.", *OWN_WEIGHTS_TOO.get(name, ()))
    own = [p for key, p in network.named_parameters() if not is_inserted(key) and any(part in key for part in moved)]
    jitter(own, 0.2)
    return network


@pytest.mark.parametrize("name", [name for name in INSERTING if name not in PROMPTS])
def test_the_ends_are_the_two_networks_to_the_byte(name):
    network, before = trained(name), vit()
    logits = network(images())
    assert torch.equal(interpolated(before.state_dict(), network, 0.0)(images()), before(images()))
    assert torch.equal(interpolated(before.state_dict(), network, 1.0)(images()), logits)
    between = interpolated(before.state_dict(), network, 0.5)(images())
    assert not close(between, logits) and not close(between, before(images()))
    assert torch.equal(network(images()), logits), "the trained network itself does not change"


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", LINEAR)
def test_where_weights_change_on_a_line_it_is_the_interpolation_of_weights(name, alpha):
    network, before, between = trained(name), vit().state_dict(), vit()
    between.load_state_dict(interpolate(before, folded_state(network), alpha))
    assert close(interpolated(before, network, alpha)(images()), between(images()))


def test_the_gains_and_biases_of_difffit_change_together_so_it_is_not():
    network, before, between = trained("difffit"), vit().state_dict(), vit()
    between.load_state_dict(interpolate(before, folded_state(network), 0.5))
    assert not close(interpolated(before, network, 0.5)(images()), between(images()))


def test_a_network_without_inserted_modules_is_interpolated_as_it_is():
    network = vit()
    jitter(network.parameters(), 0.1)
    wanted = interpolate(vit().state_dict(), network.state_dict(), 0.3)
    found = interpolated(vit().state_dict(), network, 0.3).state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    network = timm.create_model("test_resnet", num_classes=5).eval()
    halfway = interpolated(network.state_dict(), network, 0.5)
    assert torch.equal(halfway.state_dict()["bn1.running_var"], network.bn1.running_var)


def test_the_modules_of_the_result_carry_the_factor():
    result = interpolated(vit().state_dict(), trained("lora"), 0.3)
    assert {place.inserted.merge for place in places(result).values()} == {0.3}
    assert plain_state(result).keys() == vit().state_dict().keys()


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_have_nothing_between(name):
    with pytest.raises(UserError, match=r"^no network lies between .* with \w*Prompts \(inserted at blocks.0\); ch"):
        interpolated(vit().state_dict(), trained(name), 0.5)


def test_another_head_or_number_is_one_sentence():
    with pytest.raises(UserError, match=r"^the state dicts differ in 2 keys, first 'head.bias'; give two checkpoi"):
        interpolated(vit(num_classes=6).state_dict(), trained("lora"), 0.5)
    with pytest.raises(UserError, match=r"^alpha is 1.5; give a number in 0..1"):
        interpolated(vit().state_dict(), trained("lora"), 1.5)


def test_queries_that_change_the_head_have_nothing_between():
    with pytest.raises(UserError, match=r"^no network lies between .* with Queries \(inserted at blocks.0\); choose a"):
        interpolated(vit().state_dict(), with_inserted("vqt", trained=False), 0.5)
