"""Parameter-efficient methods: which weights move in training, and which keep their bytes."""

import pytest
import torch

from analysis_lib.core.seeds import generator_for
from analysis_lib.methods import METHODS, create_method
from analysis_lib.models.petl.inserted import is_inserted

OWN = {  # parts of the names of the network's own weights that train beside the head
    "bitfit_head": ("bias",),
    "normalisation": ("norm",),
    "difffit": ("bias", "norm"),
    "selected": ("blocks.5.",),  # the last of test_vit
    **dict.fromkeys(["lora", "houlsby", "pfeiffer", "pfeiffer_random", "adaptformer", "repadapter", "convpass"], ()),
    **dict.fromkeys(["ssf", "vpt_shallow", "vpt_deep", "fact_tt", "fact_tk"], ()),
}


def trains(method, name):
    return is_inserted(name) or name.startswith("head.") or any(part in name for part in OWN[method])


@pytest.mark.parametrize("name", OWN)
def test_what_should_train_moves_and_all_else_keeps_its_bytes(fit, network, name):
    model = fit(create_method(name, {}), "test_vit", epochs=2, lr=0.05)
    start = network("test_vit")
    create_method(name, {}).insert(start, generator_for("inserted", "toy"))  # the stream of the run
    before = dict(start.named_parameters())
    assert len(model.blocks) == 6
    for key, parameter in model.named_parameters():
        assert parameter.requires_grad == trains(name, key), key
        assert torch.equal(parameter, before[key]) != trains(name, key), key


@pytest.mark.parametrize("name", OWN)
def test_gradients_reach_exactly_what_trains(network, data, batch, name):
    model, method = network("test_vit"), create_method(name, {})
    method.prepare(model, data(size=32))
    model.train()
    method.loss(model, *batch)[0].backward()
    for key, parameter in model.named_parameters():
        assert (parameter.grad is not None) == trains(name, key), key
        if key.startswith("head."):
            assert parameter.grad.any()


@pytest.mark.parametrize("name", [name for name in OWN if METHODS[name].folds])
def test_the_plain_state_after_training_gives_the_same_logits(fit, network, batch, name):
    method, plain = create_method(name, {}), network("test_vit").eval()
    model = fit(method, "test_vit", epochs=1).eval()
    before = plain(batch[0])
    plain.load_state_dict(method.plain_state(model))
    assert torch.allclose(plain(batch[0]), model(batch[0]), rtol=0, atol=1e-10)
    assert not torch.allclose(before, model(batch[0]), atol=1e-3)


def test_the_plain_state_of_any_other_method_is_its_state(network):
    model, method = network("test_resnet"), create_method("finetune", {})
    assert method.folds and all(torch.equal(method.plain_state(model)[key], p) for key, p in model.state_dict().items())
