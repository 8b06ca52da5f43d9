"""Leave-out local SGD: who is left out, where local runs begin, what is averaged, and what pushes logits down."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from analysis_lib.core.seeds import generator_for
from analysis_lib.methods.finetune import FineTune
from analysis_lib.methods.lolsgd import LOLSGD, MaskedLOLSGD
from analysis_lib.models.batchnorm import reestimate
from analysis_lib.training.method import TrainingData

SEEN, ABSENT = {1, 2, 4, 5}, {0, 3}


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def equal(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


class Linear(nn.Sequential):
    """A network of one layer, so without BatchNorm."""

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(3 * 16 * 16, 6, dtype=torch.float64))

    def get_classifier(self):
        return self[1]


@pytest.mark.parametrize("kind", [LOLSGD, MaskedLOLSGD])
def test_one_local_run_that_misses_nothing_is_plain_sgd_to_the_byte(fit, same, kind):
    everything = kind(left_out=0.0, local_runs=1)
    assert same(fit(everything, momentum=0.0), fit(FineTune(), momentum=0.0))


def test_with_momentum_it_is_plain_sgd_that_begins_every_epoch_without(fit, same):
    class Forgetful(FineTune):
        def after_step(self, model, optimizer, step, steps):
            if step % 4 == 3:
                optimizer.state.clear()

    everything = LOLSGD(left_out=0.0, local_runs=1)
    assert same(fit(everything, epochs=1), fit(FineTune(), epochs=1)), "nothing differs in the first epoch"
    assert same(fit(everything), fit(Forgetful())) and not same(fit(everything), fit(FineTune()))


def toy(classes, per_class, batch_size):
    labels = torch.arange(classes).repeat(per_class)
    return TrainingData(torch.zeros(len(labels), 1), labels, torch.arange(len(labels)), batch_size, None, "toy")


def network_of(classes):
    model = Linear()
    model[1] = nn.Linear(2, classes)
    return model


@pytest.mark.parametrize("left_out", [0.0, 0.3, 0.5, 0.7, 0.99])
@pytest.mark.parametrize(
    ("classes", "per_class", "batch_size"), [(1, 5, 2), (2, 3, 1), (4, 4, 3), (10, 7, 8), (5, 2, 9)]
)
def test_a_round_has_the_steps_of_an_epoch_and_every_local_run_misses_classes(classes, per_class, batch_size, left_out):
    data = toy(classes, per_class, batch_size)
    kept = max(min(2, classes), math.ceil((1 - left_out) * classes - 1e-9))
    for local_runs in (1, 2, 3, 50):
        method = LOLSGD(left_out=left_out, local_runs=local_runs)
        method.prepare(network_of(classes), data)
        drawn = []
        for epoch in (1, 2, 3):
            found = method.batches(data, epoch, torch.Generator().manual_seed(epoch))
            assert len(found) == data.steps and all(1 <= len(rows) <= batch_size for rows in found)
            sizes = [len(part) for part in torch.arange(data.steps).tensor_split(min(local_runs, data.steps))]
            assert max(sizes) - min(sizes) <= 1
            for size in sizes:
                run, found = torch.cat(found[:size]), found[size:]
                labels = set(data.labels[run].tolist())
                assert len(labels) <= kept
                counts = torch.bincount(run, minlength=len(data.rows))
                repeats = counts[torch.isin(data.labels, torch.tensor(sorted(labels)))]
                assert local_runs > 1 or len(labels) == kept, "one local run goes through all that it keeps"
                assert local_runs > 1 or repeats.max() - repeats.min() <= 1, "evenly"
                drawn.append(frozenset(labels))
        if classes == 10 and left_out >= 0.3:
            assert len(set(drawn)) > 1, "the classes are drawn anew"


def test_the_draw_of_classes_is_named_and_keeps_each_class_equally_often():
    data, method, count = toy(5, 4, 20), LOLSGD(left_out=0.4, local_runs=1), torch.zeros(5)
    method.prepare(network_of(5), data)
    for epoch in range(400):
        (rows,) = method.batches(data, epoch, torch.Generator().manual_seed(0))
        (again,) = method.batches(data, epoch, torch.Generator().manual_seed(0))
        assert torch.equal(rows, again)
        count[data.labels[rows].unique()] += 1
    assert count.sum() == 3 * 400 and (count / 400 - 3 / 5).abs().max() < 0.1


def drive(method, model, data, rate=0.1, momentum=0.0, observe=lambda number: None):
    """One round by hand, at a constant rate and without random crops. Returns its batches."""
    method.prepare(model, data)
    method.before_epoch(model, 0.0)
    found = method.batches(data, 1, generator_for("order"))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum)
    for number, rows in enumerate(found):
        observe(number)
        x = data.images[rows].double() / 255
        loss, _ = method.loss(model, x, data.labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(model, optimizer, number, len(found))
    return found


def test_local_runs_that_end_with_equal_weights_leave_them_unchanged(network, data):
    model = network()
    before = weights(model)
    drive(LOLSGD(left_out=0.5, local_runs=3), model, data(batch_size=2), rate=0.0)
    assert equal(before, weights(model))


@pytest.mark.parametrize(("batch_size", "local_runs"), [(2, 3), (3, 2), (5, 4)])
def test_local_runs_begin_alike_and_the_mean_of_their_ends_is_kept(network, data, batch_size, local_runs):
    ends = []

    class Recording(LOLSGD):
        def after_step(self, model, optimizer, step, steps):
            taken = weights(model)
            super().after_step(model, optimizer, step, steps)
            if not optimizer.state:  # it ends a local run
                ends.append(taken)

    starts, images, model = [], data(batch_size=batch_size), network()
    sizes = [len(part) for part in torch.arange(images.steps).tensor_split(local_runs)]
    firsts = {sum(sizes[:run]) for run in range(local_runs)}
    drive(
        Recording(0.5, local_runs),
        model,
        images,
        momentum=0.9,
        observe=lambda number: starts.append(weights(model)) if number in firsts else None,
    )
    assert len(starts) == len(ends) == local_runs and all(equal(start, starts[0]) for start in starts)
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter, torch.stack([end[name] for end in ends]).mean(0), atol=1e-14)
        assert not torch.equal(parameter, ends[-1][name])
    again = network()
    again.load_state_dict(model.state_dict())
    reestimate(again, images.passes("batchnorm", 1))
    for name, buffer in model.named_buffers():
        assert "num_batches" in name or torch.equal(buffer, again.get_buffer(name))


@pytest.mark.parametrize("kind", [LOLSGD, MaskedLOLSGD])
def test_one_step_each_averages_the_gradients_of_the_batches(data, kind):
    torch.manual_seed(0)
    images, model, method = data(batch_size=4), Linear(), kind(left_out=0.5, local_runs=4)
    start = weights(model)
    found = drive(method, model, images)
    assert len(found) == 4
    gradients = []
    for rows in found:
        labels = images.labels[rows]
        logits = (images.images[rows].double() / 255).flatten(1) @ start["1.weight"].T + start["1.bias"]
        if kind is MaskedLOLSGD:  # every kept class has an image in these batches
            logits[:, sorted(SEEN - set(labels.tolist()))] = -torch.inf
        residual = (logits.softmax(1) - torch.eye(6, dtype=torch.float64)[labels]) / len(rows)
        gradients.append(residual.T @ (images.images[rows].double() / 255).flatten(1))
    assert [len(set(images.labels[rows].tolist())) for rows in found] == [2] * 4
    expected = start["1.weight"] - 0.1 * torch.stack(gradients).mean(0)
    assert torch.allclose(model[1].weight, expected, atol=1e-13)


def test_over_all_subsets_one_step_each_is_a_step_on_the_whole_data(data, monkeypatch):
    """The classes have equally many images, so the expected step weighs them equally: it is plain SGD's."""
    torch.manual_seed(0)
    images, model = data(batch_size=8), Linear()  # a batch is all images of two of the four classes
    start, ends = weights(model), []
    subsets = [torch.tensor(pair) for pair in itertools.combinations(sorted(SEEN), 2)]
    for pair in (subsets[:2], subsets[2:4], subsets[4:]):
        method = LOLSGD(left_out=0.5, local_runs=2)
        drawn = iter(pair)
        monkeypatch.setattr(method, "_draw_classes", lambda classes, generator, drawn=drawn: next(drawn))
        model.load_state_dict(start)
        for rows, classes in zip(drive(method, model, images), pair):
            assert len(rows.unique()) == 8 and torch.equal(images.labels[rows].unique(), classes)
        ends.append(model[1].weight.detach().clone())
    model.load_state_dict(start)
    x = images.images[images.rows].double() / 255
    (gradient,) = torch.autograd.grad(cross_entropy(model(x), images.labels[images.rows]), model[1].weight)
    assert torch.allclose(torch.stack(ends).mean(0), start["1.weight"] - 0.1 * gradient, atol=1e-14)


@pytest.mark.parametrize("kind", [LOLSGD, MaskedLOLSGD])
def test_only_the_plain_variant_pushes_left_out_classes_down(data, kind):
    torch.manual_seed(0)
    images, model, method = data(batch_size=4), Linear(), kind(left_out=0.5, local_runs=4)
    method.prepare(model, images)
    method.before_epoch(model, 0.0)
    for rows in method.batches(images, 1, generator_for("order")):
        labels = images.labels[rows]
        left = sorted(SEEN - set(labels.tolist()))
        loss, logits = method.loss(model, images.images[rows].double() / 255, labels)
        weight, bias = torch.autograd.grad(loss, tuple(model[1].parameters()))
        assert len(left) == 2 and logits.isfinite().all()
        method.after_step(model, torch.optim.SGD(model.parameters(), lr=0.1), 0, 4)
        if kind is MaskedLOLSGD:
            assert (weight[left] == 0).all() and (bias[left] == 0).all()
        else:
            assert (bias[left] > 0).all(), "a step lowers the logit"
        assert (bias[sorted(ABSENT)] > 0).all(), "absent classes stay in the softmax"


@pytest.mark.parametrize("kind", [LOLSGD, MaskedLOLSGD])
def test_at_learning_rate_0_the_weights_stay(fit, network, same, kind):
    model = fit(kind(left_out=0.5), lr=0.0)
    assert same(model, network(), without=("running", "num_batches"))
