"""Pooled features of every depth against timm's intermediate features, and the selection of a head's features."""

import copy

import pytest
import timm
import torch
from torch import nn
from torch.nn.functional import normalize

from analysis_lib.models.backbone import features_and_logits, head_name
from analysis_lib.models.create import create_random_model
from analysis_lib.models.petl.feature_selection import column_norms, keep_strongest, make_selectable
from analysis_lib.models.petl.head2toe import PooledFeatures

SIZE = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 4, "num_classes": 5}
TOKENS = {"with class token": {}, "with registers": {"reg_tokens": 2}, "without": {"class_token": False}}
MAPS = ("test_resnet", "test_efficientnet", "test_convnext")


@pytest.fixture
def images(random):
    return torch.rand(3, 3, 32, 32, generator=random)


def widened(model, **options):
    """A copy with pooled features."""
    model = copy.deepcopy(model)
    PooledFeatures(**options).insert(model, torch.Generator().manual_seed(0))
    return model


def entering(model, x):
    return model.forward_head(model.forward_features(x), pre_logits=True)


@pytest.mark.parametrize("build", TOKENS)
def test_tokens_are_pooled_after_every_block(images, build):
    torch.manual_seed(0)
    kinds = TOKENS[build]
    pool = "token" if "class_token" not in kinds else "avg"
    plain = timm.models.VisionTransformer(**SIZE, **kinds, global_pool=pool).eval()
    with torch.no_grad():
        options = {"output_fmt": "NLC", "return_prefix_tokens": True, "intermediates_only": True}
        parts = [entering(plain, images)]
        for found in plain.forward_intermediates(images, **options):
            patches, prefix = found if plain.num_prefix_tokens else (found, None)
            parts += [prefix[:, 0]] if "class_token" not in kinds else []
            parts.append(patches.mean(1))
    features = widened(plain).forward_features(images)
    assert torch.equal(features, torch.cat([normalize(part) for part in parts], 1))
    assert features.shape[1] == 24 * (4 if build == "without" else 7)


@pytest.mark.parametrize("name", MAPS)
def test_maps_are_averaged_after_every_stage(images, name):
    torch.manual_seed(0)
    plain = timm.create_model(name, num_classes=5).eval()
    with torch.no_grad():
        stages = plain.forward_intermediates(images, intermediates_only=True)
        parts = [entering(plain, images), *(stage.mean((2, 3)) for stage in stages)]
        features, logits = features_and_logits(widened(plain), images)
    assert (features - torch.cat([normalize(part) for part in parts], 1)).abs().max() < 1e-6
    assert logits.shape == (3, 5)


@pytest.mark.parametrize("name", ["digits_cnn", "glyphs_resnet", "glyphs_vit"])
def test_networks_of_ours_and_only_their_heads_train(name):
    plain = create_random_model(name, 5, 0)
    model = widened(plain, start="fresh")
    head = f"{head_name(plain)}."
    own, before = model.state_dict(), plain.state_dict()
    assert all(torch.equal(own[key], before[key]) for key in before if not key.startswith(head))
    logits = model.eval()(torch.rand(2, 3, 32, 32, dtype=torch.float64))
    logits.logsumexp(1).sum().backward()
    assert all((parameter.grad is not None) == key.startswith(head) for key, parameter in model.named_parameters())


def test_a_copy_is_independent(images):
    model = widened(create_random_model("digits_cnn", 5, 0).float(), start="fresh").eval()
    twin = copy.deepcopy(model)
    before = model(images)
    assert torch.equal(twin(images), before)
    nn.init.zeros_(twin.blocks[0].weight)
    assert torch.equal(model(images), before) and not torch.equal(twin(images), before)


@pytest.fixture
def head():
    """Columns of lengths 3, 0, 2, 5, 2."""
    linear = nn.Linear(5, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[3.0, 0.0, 0.0, 3.0, 2.0], [0.0, 0.0, 2.0, 4.0, 0.0]]))
    make_selectable(linear)
    return linear


@pytest.mark.parametrize(
    ("fraction", "kept"),
    [(1.0, [0, 1, 2, 3, 4]), (0.8, [0, 2, 3, 4]), (0.6, [0, 2, 3]), (0.39, [0, 3]), (0.2, [3]), (0.01, [3])],
)
def test_the_longest_columns_are_kept(head, fraction, kept):
    assert column_norms(head).tolist() == [3, 0, 2, 5, 2]
    start = {"weight": torch.ones(2, 5), "bias": torch.tensor([7.0, 8.0])}
    keep_strongest(head, fraction, start)
    assert head.kept.nonzero().flatten().tolist() == kept
    assert torch.equal(head.weight, head.kept.float().expand(2, 5)) and torch.equal(head.bias, start["bias"])


def test_features_that_are_not_kept_neither_count_nor_learn(head):
    start = {name: tensor.detach().clone() for name, tensor in head.named_parameters()}
    keep_strongest(head, 0.6, start)
    x = torch.rand(4, 5)
    other = torch.where(head.kept, x, 100.0)
    assert torch.equal(head(x), head(other)) and torch.allclose(
        head(x), nn.functional.linear(x, head.weight, head.bias)
    )
    head(x).square().sum().backward()
    assert torch.equal(head.weight.grad.any(0), head.kept)
    loaded = nn.Linear(5, 2)
    make_selectable(loaded)
    loaded.load_state_dict(head.state_dict())
    assert torch.equal(loaded(x), head(x)) and torch.equal(loaded.kept, head.kept)


def test_an_unused_column_has_a_finite_slope(head):
    column_norms(head).sum().backward()
    assert head.weight.grad.isfinite().all() and not head.weight.grad[:, 1].any()
