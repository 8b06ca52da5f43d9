"""What holds for every technique: start, draws, folding, merge factor, dropout, copies and stored weights."""

import copy

import pytest
import torch

from analysis_lib import UserError
from analysis_lib.core.seeds import generator_for
from analysis_lib.models.petl import TECHNIQUES
from analysis_lib.models.petl.inserted import folded_state, inserted_parameters, places, plain_state
from tests.models.petl.small_vit import FOLDING, INSERTING, PROMPTS, VARIANTS, close, images, jitter, vit, with_inserted

RANDOM_START = ["houlsby", "pfeiffer_random", "ssf", *PROMPTS]
WITHOUT_DROPOUT = ["difffit", "ssf"]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", [name for name in INSERTING if name not in RANDOM_START])
def test_a_zero_start_is_the_pretrained_network(name, variant):
    network = with_inserted(name, variant, trained=False)
    assert torch.equal(network(images()), vit(variant)(images()))
    assert torch.equal(network.train()(images()), vit(variant)(images())), "dropout of nothing is nothing"
    jitter(inserted_parameters(network), 0.3)
    assert not close(network.eval()(images()), vit(variant)(images())), "the weights have an effect"


@pytest.mark.parametrize("name", ["houlsby", "pfeiffer_random"])
def test_a_random_start_is_as_near_as_its_scale(name):
    plain = vit()(images())
    far, near = (with_inserted(name, trained=False, scale=scale)(images()) - plain for scale in (1e-3, 1e-6))
    assert 0 < near.norm() < 1e-4 * plain.norm() and torch.allclose(1000 * near, far, rtol=0.05)


def test_the_start_of_ssf_is_near():
    plain = vit()(images())
    change = with_inserted("ssf", trained=False)(images()) - plain
    assert 0 < change.norm() < 0.3 * plain.norm()


@pytest.mark.parametrize("name", INSERTING)
def test_draws_depend_on_the_generator_alone(name):
    def draw(dtype, *stream):
        torch.manual_seed(int(torch.empty(1).uniform_(0, 1e6)))
        network = vit().to(dtype)
        TECHNIQUES[name]().insert(network, generator_for(*stream))
        return [p.detach().clone() for p in inserted_parameters(network)]

    one, again, single, other = draw(torch.float64), draw(torch.float64), draw(torch.float32), draw(torch.float64, 2)
    assert one and all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert all(b.dtype == torch.float32 and torch.equal(a.float(), b) for a, b in zip(one, single, strict=True))
    drawn = name != "difffit"  # whose gains are all 1
    assert drawn != all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert all(torch.equal(2**24 * p, (2**24 * p).round()) for p in one), "numbers on a grid"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", [name for name in INSERTING if name not in PROMPTS])
def test_at_a_merge_factor_of_0_nothing_has_changed(name, variant):
    network = with_inserted(name, variant)
    for place in places(network).values():
        place.inserted.merge = 0.0
    assert torch.equal(network(images()), vit(variant)(images()))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", FOLDING)
def test_the_folded_network_is_plain_and_gives_the_same_logits(name, variant):
    network = with_inserted(name, variant)
    lacking = {"as CLIP": ("ssf",), "no bias": ("ssf", "repadapter")}
    if name in lacking.get(variant, ()):
        with pytest.raises(UserError, match=r"^cannot fold into [\w.]+: it has no bias; choose another method$"):
            folded_state(network)
        return
    plain = vit(variant)
    before = plain(images())
    plain.load_state_dict(folded_state(network), strict=True)
    assert close(plain(images()), network(images())) and not close(before, network(images()))


def test_the_folded_weights_hold_the_merge_factor():
    for name in FOLDING:
        network, plain = with_inserted(name), vit()
        for place in places(network).values():
            place.inserted.merge = 0.3
        plain.load_state_dict(folded_state(network))
        assert close(plain(images()), network(images())), name


@pytest.mark.parametrize("name", [name for name in INSERTING if name not in FOLDING])
def test_what_cannot_be_folded_says_so(name):
    with pytest.raises(UserError, match=r"^\w+ cannot be folded into the weights of a plain network; keep it inserted"):
        folded_state(with_inserted(name))


@pytest.mark.parametrize("name", INSERTING)
def test_dropout_acts_in_train_mode_alone(name):
    network = with_inserted(name)
    assert torch.equal(network(images()), network(images()))
    network.train()
    assert torch.equal(network(images()), network(images())) == (name in WITHOUT_DROPOUT)
    if name not in WITHOUT_DROPOUT:
        without = with_inserted(name, dropout=0.0)
        assert torch.equal(without.train()(images()), without.eval()(images()))


@pytest.mark.parametrize("name", INSERTING)
def test_a_copy_stands_alone(name):
    network = with_inserted(name)
    logits, twin = network(images()), copy.deepcopy(network)
    assert torch.equal(twin(images()), logits)
    jitter(inserted_parameters(twin), 0.1)
    assert torch.equal(network(images()), logits) and not close(twin(images()), logits)
    moved = twin(images())
    jitter(inserted_parameters(network), 0.2)
    assert torch.equal(twin(images()), moved)


@pytest.mark.parametrize("name", INSERTING)
def test_stored_weights_load_into_a_network_with_new_modules(name):
    network, new = with_inserted(name), vit()
    TECHNIQUES[name]().insert(new, generator_for("replaced"))
    assert not close(new(images()), network(images()))
    new.load_state_dict(network.state_dict())
    assert torch.equal(new(images()), network(images()))
    assert plain_state(network).keys() == vit().state_dict().keys(), "the network's own weights keep their names"
    assert all(torch.equal(a, b) for a, b in zip(plain_state(network).values(), vit().state_dict().values()))


@pytest.mark.parametrize("name", INSERTING)
def test_images_of_another_size(name):
    """Three by four patches where three by two were expected."""
    network, larger = with_inserted(name, "any size"), images(24, 32)
    if name == "convpass":
        with pytest.raises(UserError, match=r"^ConvPass was inserted for images of 3x2 patches, and these have 12"):
            network(larger)
        return
    logits = network(larger)
    if name in FOLDING:
        plain = vit("any size")
        plain.load_state_dict(folded_state(network))
        assert close(plain(larger), logits)
    assert logits.isfinite().all() and not close(logits, vit("any size")(larger))


@pytest.mark.parametrize("name", INSERTING)
def test_blocks_may_be_computed_anew_in_the_backward_pass(name):
    gradients = []
    for checkpointing in (False, True):
        network = with_inserted(name)
        network.set_grad_checkpointing(checkpointing)
        network(images()).square().sum().backward()
        gradients.append([p.grad for p in inserted_parameters(network)])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
