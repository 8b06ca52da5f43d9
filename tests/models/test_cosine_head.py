import copy

import pytest
import torch
from torch import nn

from analysis_lib.core.class_split import ClassSplit
from analysis_lib.models.backbone import features_and_logits, head_name
from analysis_lib.models.cosine_head import CosineHead, logit_scale, use_cosine_head
from analysis_lib.models.create import create_model
from analysis_lib.models.gamma_bias import fold_gamma


@pytest.fixture
def head(random):
    linear = nn.Linear(6, 4).double()
    with torch.no_grad():
        linear.weight.copy_(torch.randn(4, 6, dtype=torch.float64, generator=random))
    return CosineHead(linear, 7.0)


@pytest.fixture
def features(random):
    return torch.randn(5, 6, dtype=torch.float64, generator=random)


def test_a_logit_is_the_scale_times_the_cosine(head, features):
    logits = head(features)
    for i, f in enumerate(features):
        for c, w in enumerate(head.weight.detach()):
            assert logits[i, c].item() == pytest.approx(7 * (w @ f / (w.norm() * f.norm())).item(), abs=1e-12)


def test_lengths_of_rows_and_features_do_not_matter(head, features, random):
    before = head(features)
    with torch.no_grad():
        head.weight *= 0.1 + torch.rand(4, 1, dtype=torch.float64, generator=random)
    lengths = 0.1 + torch.rand(5, 1, dtype=torch.float64, generator=random)
    assert torch.allclose(head(lengths * features), before, rtol=0, atol=1e-12)


def test_the_gradient_is_the_closed_form_and_at_right_angles_to_the_row(head, features):
    """d CE / d w_c = sum_i (p_ic - 1[y_i = c]) scale / |w_c| (f_i / |f_i| - cos_ic w_c / |w_c|)."""
    labels = torch.tensor([0, 1, 2, 2, 0])
    logits = head(features)
    nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
    weight = head.weight.detach()
    length = weight.norm(dim=1, keepdim=True)
    residual = logits.detach().softmax(1) - torch.eye(4, dtype=torch.float64)[labels]
    unit, rows = features / features.norm(dim=1, keepdim=True), weight / length
    expected = 7 / length * (residual.T @ unit - (residual * (unit @ rows.T)).sum(0)[:, None] * rows)
    assert torch.allclose(head.weight.grad, expected, rtol=0, atol=1e-12)
    assert torch.allclose((head.weight.grad * weight).sum(1), torch.zeros(4, dtype=torch.float64), atol=1e-12)
    assert head.weight.grad.abs().max() > 0.1


def test_the_scale_is_the_product_of_mean_lengths(features):
    weight = torch.diag(torch.tensor([3.0, 4.0, 5.0]))
    assert logit_scale(weight, 2 * nn.functional.normalize(features)) == pytest.approx(8.0)


@pytest.mark.parametrize(
    "name",
    [
        "digits_cnn",
        "glyphs_resnet",
        "glyphs_vit",
        "tf_efficientnet_lite0",
        "convnext_atto",
        "torchvision/mobilenet_v3_small",
    ],
)
def test_any_network_takes_one(name):
    model = create_model(name, 7).double().eval()
    linear, place = copy.deepcopy(model.get_classifier()), head_name(model)
    use_cosine_head(model, 5.0)
    assert isinstance(model.get_classifier(), CosineHead) and head_name(model) == place
    with torch.no_grad():
        features, logits = features_and_logits(model, torch.randn(2, 3, 32, 32, dtype=torch.float64))
        assert torch.equal(logits, model.get_classifier()(features))
    assert torch.equal(model.get_classifier().weight, linear.weight)
    assert logits.abs().max() <= 5 and not model.get_classifier().bias.any()
    again = create_model(name, 7).double().eval()
    use_cosine_head(again)
    again.load_state_dict(model.state_dict())
    assert again.get_classifier().scale == 5


def test_only_its_rows_can_be_trained():
    """Methods freeze and free parameters by their names and modules."""
    model = create_model("digits_cnn", 10)
    use_cosine_head(model, 5.0)
    assert [name for name, _ in model.named_parameters() if name.startswith("head.")] == ["head.weight"]
    assert {"head.weight", "head.bias", "head.scale"} <= set(model.state_dict())


def test_gamma_folds_into_its_bias():
    model = create_model("digits_cnn", 10).eval()
    use_cosine_head(model, 5.0)
    split, x = ClassSplit(10, [0, 3, 4]), torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        raised = fold_gamma(model, split, 2.0, x)(x) - model(x)
    assert torch.allclose(raised, 2.0 * (~split.seen_mask).float().expand(4, 10), atol=1e-5)
