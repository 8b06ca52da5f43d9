"""Training in two stages with a selection of features between them: Head2Toe, and VQT with selected features."""

from itertools import pairwise

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from analysis_lib.core.seeds import generator_for
from analysis_lib.methods import create_method
from analysis_lib.methods.head2toe import mean_length
from analysis_lib.models.backbone import features_and_logits
from analysis_lib.models.petl.inserted import inserted_parameters

NETWORKS = {"head2toe": "digits_cnn", "vqt_select": "test_vit"}


@pytest.fixture
def stages(fit):
    """A function: the state after every epoch of a run, and its network at the end."""

    def run(name, epochs=4, **options):
        states = []

        def record(epoch, model):
            states.append({key: tensor.clone() for key, tensor in model.state_dict().items()})

        return states, fit(create_method(name, options), NETWORKS[name], after_epoch=record, epochs=epochs)

    return run


@pytest.mark.parametrize("name", NETWORKS)
def test_a_head_starts_again_on_the_kept_features(stages, name):
    states, model = stages(name, select=0.5, fraction=0.3)
    start, *first, _ = states
    head, width = model.get_classifier(), model.get_classifier().in_features
    assert all(state["head.kept"].all() for state in states[:2])
    kept = states[2]["head.kept"]
    assert kept.sum() == round(0.3 * width) and torch.equal(head.kept, kept)
    assert torch.equal(first[1]["head.weight"], start["head.weight"] * kept)
    assert torch.equal(first[1]["head.bias"], start["head.bias"])
    longest = first[0]["head.weight"].norm(dim=0).argsort(descending=True)
    assert kept[longest[:5]].all(), "one epoch later the longest columns are among the longest still"
    assert not head.weight[:, ~kept].any() and head.weight[:, kept].any(0).sum() > 0.9 * kept.sum()


def test_queries_train_in_the_first_stage_alone(stages):
    states, model = stages("vqt_select")
    names = [name for name in states[0] if "inserted" in name]
    assert names and all(not torch.equal(states[0][name], states[2][name]) for name in names)
    assert all(torch.equal(states[2][name], states[4][name]) for name in names)
    assert not any(parameter.requires_grad for parameter in inserted_parameters(model))
    assert not torch.equal(states[2]["head.weight"], states[4]["head.weight"])


def test_only_the_head_of_head2toe_changes(stages, network):
    _, model = stages("head2toe")
    plain, own = network().state_dict(), model.state_dict()
    assert all(torch.equal(own[name], plain[name]) for name in plain if not name.startswith("head."))


def test_a_larger_penalty_leaves_more_columns_without_weight(stages):
    shorter = []
    for penalty in (0.01, 0.1, 1.0):
        states, _ = stages("head2toe", epochs=20, penalty=penalty, select=0.9, start="fresh")
        shorter.append(int((states[17]["head.weight"].norm(dim=0) < 1e-3).sum()))
    assert shorter[0] < shorter[1] < shorter[2]


def test_all_features_may_be_kept(stages):
    states, model = stages("head2toe", fraction=1.0)
    assert model.get_classifier().kept.all() and torch.equal(states[2]["head.weight"], states[0]["head.weight"])


def test_a_run_of_one_epoch_selects_nothing(stages):
    states, model = stages("head2toe", epochs=1, fraction=0.1)
    assert model.get_classifier().kept.all() and not torch.equal(states[0]["head.weight"], states[1]["head.weight"])


@pytest.mark.parametrize(("select", "epochs"), [(0.0, 1), (0.3, 1), (0.5, 2), (0.99, 3)])
def test_each_stage_has_an_epoch_and_a_cosine_of_its_own(network, data, select, epochs):
    method = create_method("head2toe", {"select": select})
    method.prepare(network(), data())
    steps = data().steps
    rates = [method.rate(step, 4 * steps) for step in range(4 * steps)]
    starts = [step for step, rate in enumerate(rates) if rate == 1]
    assert starts == [0, epochs * steps]
    assert all(one > two for step, (one, two) in enumerate(pairwise(rates), 1) if step not in starts)


def test_momentum_and_penalty_end_with_the_first_stage(network, data, batch):
    method, model = create_method("head2toe", {"penalty": 2.0}), network()
    method.prepare(model, data())
    method.before_epoch(model, 0.0)
    head = model.get_classifier()
    optimizer = torch.optim.SGD(head.parameters(), 0.1, momentum=0.9)
    loss, logits = method.loss(model, *batch)
    plain = cross_entropy(logits, batch[1])
    assert loss.item() == pytest.approx((plain + 2 * head.weight.norm(dim=0).sum()).item())
    loss.backward()
    optimizer.step()
    steps = data().steps
    for step in range(2 * steps):
        assert optimizer.state and not method.state()["selected"]
        method.after_step(model, optimizer, step, 4 * steps)
    assert not optimizer.state and method.state()["selected"]
    loss, logits = method.loss(model, *batch)
    assert loss == cross_entropy(logits, batch[1])


@pytest.mark.parametrize("model_name", ["digits_cnn", "test_resnet", "test_vit"])
def test_head2toe_starts_near_the_networks_own_answers(network, data, batch, model_name):
    plain, model = network(model_name).eval(), network(model_name)
    images = data(size=32)
    features, _ = features_and_logits(plain, batch[0])
    length = mean_length(plain, images)
    assert length == pytest.approx(features.norm(dim=1).mean().item(), rel=0.1)
    create_method("head2toe", {}).prepare(model, images)
    expected = length * normalize(features) @ plain.get_classifier().weight.T
    with torch.no_grad():
        found = model.eval()(batch[0])
    assert (found - expected - plain.get_classifier().bias).abs().max() < 1e-10


def test_a_stored_network_is_whole(stages, network, batch):
    for name, build in NETWORKS.items():
        _, trained = stages(name)
        again = network(build)
        create_method(name, {}).insert(again, generator_for("replaced"))
        again.load_state_dict(trained.state_dict())
        with torch.no_grad():
            assert torch.equal(again.eval()(batch[0]), trained.eval()(batch[0]))
