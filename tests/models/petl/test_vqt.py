"""VQT: its branch against queries prepended to timm's own blocks, what stays frozen, its counts, and its start."""

import copy
import math

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch.nn.functional import normalize

from analysis_lib import UserError
from analysis_lib.methods import create_method
from analysis_lib.models.backbone import backbone_in_bfloat16, features_and_logits
from analysis_lib.models.cosine_head import use_cosine_head
from analysis_lib.models.petl.inserted import inserted_parameters, plain_state
from analysis_lib.models.petl.vqt import VQT
from analysis_lib.models.petl.wide_features import expected_length

SIZE = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 4, "num_classes": 5}
BUILDS = {
    "plain": {},
    "norms of queries and keys": {"qk_norm": True},
    "scaled layers": {"init_values": 0.3},
    "more norms": {"scale_attn_norm": True, "scale_mlp_norm": True},
    "without biases": {"qkv_bias": False, "proj_bias": False},
    "register tokens": {"reg_tokens": 2},
    "mean of patches": {"global_pool": "avg", "class_token": False},
}


@pytest.fixture
def network():
    """A function: a small vision transformer in float64, in eval mode, without any zero among its weights."""

    def make(**build) -> VisionTransformer:
        torch.manual_seed(0)
        model = VisionTransformer(**SIZE, **build).double().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
        return model

    return make


@pytest.fixture
def images(random):
    return torch.rand(3, 3, 16, 16, generator=random, dtype=torch.float64)


def inserted(model, **options):
    """The network with queries, its own weights frozen as by the method."""
    VQT(**options).insert(model, torch.Generator().manual_seed(1))
    model.requires_grad_(False)
    for parameter in [*inserted_parameters(model), *model.get_classifier().parameters()]:
        parameter.requires_grad_(True)
    return model.eval()


def tokens_by_block(model, x):
    """The output of every block."""
    found = []
    hooks = [block.register_forward_hook(lambda module, inputs, output: found.append(output)) for block in model.blocks]
    model(x)
    for hook in hooks:
        hook.remove()
    return found


def prepended(model, plain, x):
    """The published form: queries before the tokens in timm's own blocks, and no row has them as key or value."""
    tokens = plain.norm_pre(plain.patch_drop(plain._pos_embed(plain.patch_embed(x))))
    parts = []
    for block, own in zip(plain.blocks, model.blocks):
        queries = own.inserted.tokens.expand(len(x), -1, -1)
        number = queries.shape[1]
        is_key = torch.arange(number + tokens.shape[1]) >= number
        rows = block(torch.cat([queries, tokens], 1), attn_mask=is_key[None, None, None])
        tokens = rows[:, number:]
        parts.append(rows[:, :number].flatten(1))
    entering = plain.forward_head(plain.norm(tokens), pre_logits=True)
    return torch.cat([normalize(part) for part in (entering, *parts)], 1), tokens


@pytest.mark.parametrize("queries", [0, 1, 7])
@pytest.mark.parametrize("build", BUILDS)
def test_the_branch_is_the_prepended_form(network, images, build, queries):
    """One query of 6 channels keeps slopes for the gradient, seven keep keys and values."""
    plain = network(**BUILDS[build])
    model = inserted(copy.deepcopy(plain), queries=queries, start="fresh")
    features, logits = features_and_logits(model, images)
    expected, last = prepended(model, plain, images)
    assert (features - expected).abs().max() < 1e-10
    assert torch.equal(logits, model.get_classifier()(features)) and torch.equal(logits, model(images))
    assert features.shape == (3, 24 + 3 * queries * 24)
    assert (tokens_by_block(model, images)[-1] - last).abs().max() < 1e-10
    weights = inserted_parameters(model)
    direction = torch.randn(features.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    if queries:
        ours = torch.autograd.grad((features * direction).sum(), weights)
        theirs = torch.autograd.grad((expected * direction).sum(), weights)
        for found, wanted in zip(ours, theirs):
            assert wanted.abs().max() > 1e-3 and (found - wanted).abs().max() < 1e-10


def test_the_branch_is_the_prepended_form_in_float32(network, images):
    plain = network().float()
    model = inserted(copy.deepcopy(plain), queries=2)
    features = model.forward_features(images.float())
    assert (features - prepended(model, plain, images.float())[0]).abs().max() < 1e-5


def test_the_tokens_are_those_of_the_frozen_network(network, images):
    plain = network()
    model = inserted(copy.deepcopy(plain), queries=3).train()
    for ours, theirs in zip(tokens_by_block(model, images), tokens_by_block(plain, images)):
        assert torch.equal(ours, theirs)
    frozen, own = plain.state_dict(), plain_state(model)
    assert own.keys() == frozen.keys()
    assert all(torch.equal(own[name], frozen[name]) for name in own if not name.startswith("head."))


def test_only_queries_and_head_have_gradients(network, images):
    model = inserted(network(), start="fresh").train()
    model(images).logsumexp(1).sum().backward()
    for name, parameter in model.named_parameters():
        if "inserted" in name or name.startswith("head."):
            assert parameter.grad.any(), name
        else:
            assert parameter.grad is None, name


def test_at_the_pretrained_start_queries_move_from_the_second_step(network, images):
    model = inserted(network()).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    for step in range(2):
        optimizer.zero_grad()
        model(images).logsumexp(1).sum().backward()
        assert all(bool(parameter.grad.any()) == bool(step) for parameter in inserted_parameters(model))
        optimizer.step()


def test_the_pretrained_start_keeps_the_networks_answers(network, images):
    plain = network()
    model = inserted(copy.deepcopy(plain))
    features, _ = features_and_logits(plain, images)
    scale = expected_length(plain) / features.norm(dim=1, keepdim=True)
    assert (scale.log().abs() < math.log(2)).all()
    expected = scale * (features @ plain.head.weight.T) + plain.head.bias
    assert (model(images) - expected).abs().max() < 1e-12


def test_the_expected_length_is_that_of_layer_norm_on_random_input(network):
    model = network()
    x = torch.randn(20_000, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = model.norm(x).square().sum(1).mean().sqrt()
    assert abs(found / expected_length(model) - 1) < 0.01


def test_the_fresh_start_is_the_published_one(network):
    model = inserted(network(), queries=50, start="fresh")
    head = model.get_classifier()
    assert torch.allclose(head.bias, torch.tensor(-4.595, dtype=torch.float64), atol=1e-3)
    assert abs(head.weight.std() / math.sqrt(2 / 5) - 1) < 0.03
    bound = math.sqrt(6 / (3 * 4 * 4 + 24))
    for parameter in inserted_parameters(model):
        assert 0.99 * bound < parameter.abs().max() <= bound + 1e-6 and abs(parameter.mean()) < 0.1 * bound


def test_no_query_is_a_linear_probe_on_the_normalised_feature(network, images):
    plain = network()
    model = inserted(copy.deepcopy(plain), queries=0, start="fresh")
    probe = model.get_classifier()
    feature = normalize(plain.forward_head(plain.forward_features(images), pre_logits=True))
    assert torch.equal(model(images), probe(feature)) and probe.in_features == 24
    model(images).logsumexp(1).sum().backward()
    assert probe.weight.grad.any()
    assert sum(parameter.numel() for parameter in inserted_parameters(model)) == 0


def test_counts_on_vit_b_16():
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224", num_classes=100)
    VQT().insert(model, torch.Generator().manual_seed(0))
    assert sum(parameter.numel() for parameter in inserted_parameters(model)) == 9216
    assert model.get_classifier().weight.shape == (100, 9984)
    features, logits = features_and_logits(model, torch.empty(2, 3, 224, 224, device="meta"))
    assert features.shape == (2, 9984) and logits.shape == (2, 100)


def test_a_copy_is_independent(network, images):
    model = inserted(network(), start="fresh")
    before = model(images)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(images), before)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(model(images), before) and not twin(images).any()


def test_no_graph_is_made_where_none_is_wanted(network, images):
    model = inserted(network())
    with torch.no_grad():
        assert not model(images).requires_grad
    with torch.inference_mode():
        assert model(images).is_inference()
    assert not any(block.attn.qkv._forward_hooks for block in model.blocks)


def test_dropout_acts_on_queries_only_while_training(network, images):
    model = inserted(network(), dropout=0.5, start="fresh")
    one, again = model.forward_features(images), model.forward_features(images)
    model.train()
    dropped = model.forward_features(images)
    assert torch.equal(one, again) and torch.equal(dropped[:, :24], one[:, :24])
    assert not torch.isclose(dropped[:, 24:], one[:, 24:]).all(1).any()


def test_a_backbone_in_bfloat16_is_near(network, images):
    plain, images = network().float(), images.float()
    exact = inserted(copy.deepcopy(plain))
    backbone_in_bfloat16(plain)
    rounded = inserted(plain)
    features, logits = features_and_logits(rounded, images)
    assert features.dtype == logits.dtype == torch.float32
    assert 0 < (features - exact.forward_features(images)).abs().max() < 0.05
    features.square()[:, 24:48].sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in inserted_parameters(rounded)[:1])


def test_what_does_not_fit_is_refused(network):
    generator = torch.Generator()
    cosine = network()
    use_cosine_head(cosine)
    with pytest.raises(UserError, match="this network has a cosine head; give it a linear one"):
        VQT().insert(cosine, generator)
    with pytest.raises(UserError, match="does not follow a LayerNorm, .*; set the option start=fresh"):
        VQT().insert(network(final_norm=False), generator)
    VQT(start="fresh").insert(network(final_norm=False), generator)
    with pytest.raises(UserError, match=r"needs timm's Attention in every block, .* has DiffAttention; choose "):
        VQT().insert(network(attn_layer="diff"), generator)
    with pytest.raises(UserError, match=r"^option start of the method .* is zeros; give pretrained or fresh$"):
        create_method("vqt", {"start": "zeros"})
