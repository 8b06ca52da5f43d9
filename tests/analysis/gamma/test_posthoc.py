import dataclasses

import pytest
import torch
from torch import nn

from analysis_lib import ClassSplit, UserError, accuracies, class_means, seen_absent_curve, shift_logits
from analysis_lib.analysis.gamma.posthoc import (
    BASELINES,
    PostHoc,
    group_posterior,
    group_temperature,
    logit_adjustment,
    weight_alignment,
)
from analysis_lib.models.weight_space import interpolate

SPLIT = ClassSplit(7, [1, 2, 5])
SEEN, ABSENT = list(SPLIT.seen), list(SPLIT.absent)


@pytest.fixture
def inputs(random):
    """A float32 head and its features; the seen logits of the fine-tuned model are raised and spread."""
    weight, bias = torch.randn(7, 6, generator=random), torch.randn(7, generator=random)
    features, train_features, pretrained_features = (torch.randn(n, 6, generator=random) for n in (200, 90, 90))
    labels = torch.tensor(SEEN)[torch.randint(3, (90,), generator=random)]
    raised = 1 + 0.5 * SPLIT.seen_mask.float()
    weight_after, bias_after = weight * raised[:, None], bias + raised
    means = class_means(torch.randn(80, 6, generator=random), torch.arange(80) % 7, 7)
    return PostHoc(
        SPLIT,
        features,
        features @ weight_after.T + bias_after,
        weight_after,
        bias_after,
        weight,
        bias,
        train_features @ weight_after.T + bias_after,
        labels,
        pretrained_features @ weight.T + bias,
        means,
    )


@pytest.fixture
def labels(random):
    return torch.randint(7, (200,), generator=random)


def scored(name, inputs):
    return BASELINES[name].apply(inputs)


def test_the_pretrained_head_reads_the_fine_tuned_features(inputs):
    """The fixture's fine-tuned head is the pre-trained one, its rows times `raised` and its bias plus `raised`."""
    raised = 1 + 0.5 * SPLIT.seen_mask.double()
    bias = inputs.pretrained_bias.double()
    expected = (inputs.logits.double() - bias - raised) / raised + bias
    assert torch.allclose(scored("pretrained_head", inputs), expected, atol=1e-4)


@pytest.mark.parametrize("name", BASELINES)
def test_each_test_sample_is_scored_on_its_own(name, inputs):
    """Scores of some rows are the rows of the scores: no baseline learns from the test set."""
    rows = torch.tensor([150, 3, 77])
    alone = dataclasses.replace(inputs, features=inputs.features[rows], logits=inputs.logits[rows])
    assert scored(name, inputs).shape == (200, 7) and scored(name, inputs).dtype == torch.float64
    assert torch.allclose(scored(name, alone), scored(name, inputs)[rows], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", BASELINES)
def test_the_oracle_alone_uses_what_absent_labels_made(name, inputs):
    other = dataclasses.replace(inputs, class_means=inputs.class_means.flip(0))
    assert torch.equal(scored(name, other), scored(name, inputs)) == (not BASELINES[name].oracle)
    assert ("oracle" in BASELINES[name].title) == BASELINES[name].oracle


@pytest.mark.parametrize("name", BASELINES)
def test_the_order_of_the_fine_tuning_data_does_not_matter(name, inputs):
    parts = {
        field: getattr(inputs, field).flip(0) for field in ("train_logits", "train_labels", "pretrained_train_logits")
    }
    assert torch.allclose(scored(name, dataclasses.replace(inputs, **parts)), scored(name, inputs))


@pytest.mark.parametrize("name", BASELINES)
def test_renumbered_classes_give_renumbered_scores(name, inputs):
    order = torch.tensor([4, 0, 6, 1, 5, 3, 2])  # new class c is old class order[c]
    place = order.argsort()
    columns = {
        field: getattr(inputs, field)[:, order] for field in ("logits", "train_logits", "pretrained_train_logits")
    }
    heads = ("weight", "bias", "pretrained_weight", "pretrained_bias", "class_means")
    rows = {field: getattr(inputs, field)[order] for field in heads}
    other = dataclasses.replace(
        inputs, split=ClassSplit(7, place[SEEN].tolist()), train_labels=place[inputs.train_labels], **columns, **rows
    )
    assert torch.allclose(scored(name, other), scored(name, inputs)[:, order])


@pytest.mark.parametrize("name", ["logit_adjustment", "group_temperature", "group_posterior"])
def test_a_constant_in_every_row_changes_no_prediction(name, inputs, random):
    """Logits are known up to a constant per row only, whichever model they come from."""
    constants = {
        field: getattr(inputs, field) + 9 * torch.randn(len(getattr(inputs, field)), 1, generator=random)
        for field in ("logits", "train_logits", "pretrained_train_logits")
    }
    moved, plain = scored(name, dataclasses.replace(inputs, **constants)), scored(name, inputs)
    assert torch.allclose(moved.log_softmax(1), plain.log_softmax(1), atol=1e-4)


@pytest.mark.parametrize("name", ["group_temperature", "group_posterior"])
def test_the_order_within_each_group_stays(name, inputs, labels):
    before, after = (accuracies(z, labels, SPLIT) for z in (inputs.logits, scored(name, inputs)))
    assert (after["acc_ss"], after["acc_uu"]) == (before["acc_ss"], before["acc_uu"])
    assert after["acc_yy"] != before["acc_yy"]


def test_logit_adjustment_is_its_definition(inputs):
    counts = [sum(label == c for label in inputs.train_labels.tolist()) for c in range(7)]
    log_prior = torch.tensor([(n + 1) / (90 + 7) for n in counts], dtype=torch.float64).log()
    assert counts[0] == 0 and len(set(counts)) > 2
    assert torch.allclose(logit_adjustment(inputs), inputs.logits.double() - log_prior)


def test_logit_adjustment_of_balanced_data_is_one_shift(inputs, labels):
    """With n samples in each seen class, gamma = log(n + 1)."""
    balanced = dataclasses.replace(inputs, train_labels=torch.tensor(SEEN).repeat(30))
    scores = logit_adjustment(balanced)
    shifted = shift_logits(inputs.logits.double(), SPLIT, float(torch.tensor(31.0, dtype=torch.float64).log()))
    assert torch.allclose(scores - scores[:, :1], shifted - shifted[:, :1])
    assert seen_absent_curve(scores, labels, SPLIT).ausuc == pytest.approx(
        seen_absent_curve(inputs.logits, labels, SPLIT).ausuc
    )


def test_group_temperature_gives_each_group_back_its_spread(inputs):
    """Applied to the fine-tuning data itself, the spread within each group is that of the pre-trained model."""
    scores = group_temperature(dataclasses.replace(inputs, features=torch.zeros(90, 6), logits=inputs.train_logits))
    for group in (SEEN, ABSENT):
        after, before = (
            z.double()[:, group].var(1, correction=0).mean() for z in (scores, inputs.pretrained_train_logits)
        )
        assert after == pytest.approx(before.item())
    centred = inputs.train_logits.double() - inputs.train_logits.double().mean(1, keepdim=True)
    ratio = centred / scores
    assert torch.allclose(ratio[:, SEEN], ratio[0, SEEN[0]]) and torch.allclose(ratio[:, ABSENT], ratio[0, ABSENT[0]])
    assert ratio[0, SEEN[0]] > 1.2 * ratio[0, ABSENT[0]] > 0


def test_group_temperature_finds_known_temperatures(inputs):
    """A model whose centred logits were stretched by 3 in S and 0.5 in U is undone exactly."""
    stretch = torch.where(SPLIT.seen_mask, 3.0, 0.5)
    centred = inputs.logits.double() - inputs.logits.double().mean(1, keepdim=True)
    spoiled = dataclasses.replace(
        inputs, logits=centred * stretch, train_logits=inputs.pretrained_train_logits * stretch
    )
    undone = group_temperature(spoiled)
    pivot = (centred * stretch).mean(1, keepdim=True)
    assert torch.allclose(undone, centred - pivot / stretch)


def test_group_temperature_needs_groups_with_a_spread(inputs):
    single = ClassSplit(7, [1])
    with pytest.raises(UserError, match="logits of 1 classes do not differ .* at least two seen and two absent"):
        group_temperature(dataclasses.replace(inputs, split=single, train_labels=torch.ones(90, dtype=torch.long)))
    for model in ("train_logits", "pretrained_train_logits"):
        constant = getattr(inputs, model).clone()
        constant[:, ABSENT] = 2.0
        with pytest.raises(UserError, match="logits of 4 classes do not differ"):
            group_temperature(dataclasses.replace(inputs, **{model: constant}))


def test_aligned_weights_have_the_mean_absent_norm_and_keep_direction_and_bias(inputs):
    weight = inputs.weight.double()
    norms = [sum(x * x for x in row) ** 0.5 for row in weight.tolist()]
    norm = sum(norms[c] for c in ABSENT) / 4
    expected = [
        [
            norm / norms[c] * sum(w * f for w, f in zip(weight[c].tolist(), row)) + inputs.bias[c].item()
            for c in range(7)
        ]
        for row in inputs.features.tolist()
    ]
    assert torch.allclose(weight_alignment(inputs), torch.tensor(expected, dtype=torch.float64))


def test_alignment_of_equal_norms_changes_nothing(inputs):
    unit = 2.5 * inputs.weight / inputs.weight.norm(dim=1, keepdim=True)
    logits = inputs.features @ unit.T + inputs.bias
    assert torch.allclose(weight_alignment(dataclasses.replace(inputs, weight=unit)), logits.double(), atol=1e-5)


def test_the_group_posterior_decides_the_group_first(inputs):
    """By brute force: P(G|x) times |G| over the mean of P(G|x) on the fine-tuning data, then the best class of that
    group.
    """
    p, train = inputs.logits.double().softmax(1), inputs.train_logits.double().softmax(1)
    weight = {name: len(group) / train[:, group].sum(1).mean() for name, group in (("s", SEEN), ("u", ABSENT))}
    expected = []
    for row in p:
        group = SEEN if row[SEEN].sum() * weight["s"] > row[ABSENT].sum() * weight["u"] else ABSENT
        expected.append(max(group, key=lambda c: row[c].item()))
    predicted = group_posterior(inputs).argmax(1)
    assert predicted.tolist() == expected
    by_class = inputs.logits + torch.where(SPLIT.seen_mask, weight["s"].log(), weight["u"].log())
    assert (predicted != by_class.argmax(1)).any()  # the largest corrected logit is another classifier


def test_the_group_posterior_undoes_any_shift_that_empties_the_absent_group(inputs):
    """Where P(S|x) is 1 on all fine-tuning data, a deeper shift of the absent logits changes nothing and stays
    finite.
    """
    deep, deeper = (
        group_posterior(
            dataclasses.replace(
                inputs,
                **{name: shift_logits(getattr(inputs, name), SPLIT, gamma) for name in ("logits", "train_logits")},
            )
        )
        for gamma in (-40.0, -800.0)
    )
    assert torch.allclose(deep.log_softmax(1), deeper.log_softmax(1), atol=1e-3)
    assert deep[:, ABSENT].isfinite().all() and not SPLIT.is_seen(deep.argmax(1)).all()


def test_group_posteriors_keep_the_softmax_within_each_group(inputs):
    for group in (SEEN, ABSENT):
        assert torch.allclose(group_posterior(inputs)[:, group].softmax(1), inputs.logits.double()[:, group].softmax(1))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("logits", torch.zeros(200, 6), r"logits have shape \(200, 6\); expected \(200, 7\)"),
        ("bias", torch.zeros(6), r"bias have shape \(6,\); expected \(7,\)"),
        (
            "pretrained_train_logits",
            torch.zeros(89, 7),
            r"pretrained_train_logits have shape \(89, 7\); expected \(90, 7\)",
        ),
        ("weight", torch.full((7, 6), torch.nan), "weight hold numbers that are not finite"),
        ("train_labels", torch.tensor(SEEN * 29 + [0, 3, 9]), "seen classes only; 3 rows have other labels, drop them"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs, field, value, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(inputs, **{field: value})


def test_a_class_without_a_mean_is_never_the_nearest(inputs):
    means = inputs.class_means.clone()
    means[3] = torch.nan
    scores = scored("ncm", dataclasses.replace(inputs, class_means=means))
    assert torch.isneginf(scores[:, 3]).all() and scores[:, [0, 1, 2, 4, 5, 6]].isfinite().all()


def test_no_fine_tuning_data_is_refused(inputs):
    empty = {
        "train_logits": torch.zeros(0, 7),
        "pretrained_train_logits": torch.zeros(0, 7),
        "train_labels": torch.zeros(0, dtype=torch.long),
    }
    with pytest.raises(UserError, match="there are no rows"):
        dataclasses.replace(inputs, **empty)


def network(seed):
    """A network with BatchNorm buffers that have moved; different seeds, different numbers of batches."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    for _ in range(seed + 1):
        model(torch.randn(8, 5))
    return model.state_dict()


def test_interpolation_ends_at_the_two_models():
    before, after = network(0), network(1)
    start, end = interpolate(before, after, 0), interpolate(before, after, 1)
    assert list(start) == list(end) == list(after)
    assert start.pop("1.num_batches_tracked") == after["1.num_batches_tracked"] != before["1.num_batches_tracked"]
    assert all(torch.equal(value, before[key]) for key, value in start.items())
    assert all(torch.equal(value, after[key]) for key, value in end.items())


def test_interpolation_is_linear_and_leaves_its_inputs_alone():
    before, after = network(0), network(1)
    copies = [{key: value.clone() for key, value in state.items()} for state in (before, after)]
    mixed = interpolate(before, after, 0.3)
    assert mixed["1.num_batches_tracked"].dtype == torch.long
    for key in ("0.weight", "1.running_var", "2.bias"):
        assert torch.allclose(mixed[key], 0.7 * before[key] + 0.3 * after[key]) and mixed[key].dtype == torch.float32
    assert torch.allclose(interpolate(before, after)["2.weight"], (before["2.weight"] + after["2.weight"]) / 2)
    assert all(
        torch.equal(state[key], value) for state, copy in zip((before, after), copies) for key, value in copy.items()
    )


def test_an_interpolated_head_gives_interpolated_logits(random):
    """One linear layer: the weight-space average is the average of the logits."""
    torch.manual_seed(0)
    heads = [nn.Linear(6, 4) for _ in range(3)]
    heads[2].load_state_dict(interpolate(heads[0].state_dict(), heads[1].state_dict(), 0.25))
    x = torch.randn(10, 6, generator=random)
    assert torch.allclose(heads[2](x), 0.75 * heads[0](x) + 0.25 * heads[1](x), atol=1e-6)


def test_interpolation_refuses_what_does_not_match():
    state = network(0)
    fewer = {key: value for key, value in state.items() if key != "2.bias"}
    wider = state | {"2.weight": torch.zeros(3, 5)}
    for other in (fewer, wider):
        for pair in ((state, other), (other, state)):
            with pytest.raises(
                UserError, match="differ in 1 keys, first '2.(bias|weight)'; give two checkpoints of one architecture"
            ):
                interpolate(*pair)
    with pytest.raises(UserError, match=r"alpha is 1.5; give a number in 0..1"):
        interpolate(state, state, 1.5)
