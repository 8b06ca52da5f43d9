import pytest
import timm
import torch
import torchvision

from analysis_lib import UserError
from analysis_lib.models.create import OWN, create_model
from analysis_lib.models.likely_architecture import LIMIT, likely_architecture, likely_sentence


def state_of(make, name):
    with torch.device("meta"):
        return make(name, num_classes=7).state_dict()


@pytest.mark.parametrize(
    "name", ["resnet34", "wide_resnet50_2", "vit_small_patch16_224", "efficientnet_lite0", "convnext_tiny", "test_vit"]
)
def test_an_architecture_of_timm_is_recognised(name):
    assert likely_architecture(state_of(timm.create_model, name)) == name


@pytest.mark.parametrize("name", ["vit_b_16", "vgg11", "shufflenet_v2_x1_0"])
def test_an_architecture_of_torchvision_is_recognised(name):
    assert likely_architecture(state_of(torchvision.models.get_model, name)) == f"torchvision/{name}"


def test_few_are_made(monkeypatch):
    made, make = [], timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **options: made.append(name) or make(name, **options))
    state = state_of(make, "resnet18")
    strange = {name: torch.empty(3, device="meta") for name in state} | {"layer1.0.conv1.weight": torch.empty(5)}
    assert likely_architecture(strange) is None and len(made) == LIMIT
    assert likely_architecture({"weight": torch.empty(3)}) is None and len(made) == LIMIT


def test_names_of_transformers_are_recognised():
    assert "the library transformers" in likely_sentence({"vit.embeddings.cls_token": torch.empty(1)}, "resnet18")
    assert likely_sentence({"weight": torch.empty(1)}, "resnet18") == ""


def test_an_unknown_name_is_answered_with_the_nearest_and_a_count():
    with pytest.raises(UserError) as error:
        create_model("resnt50", 3)
    assert len(str(error.value)) < 250 and f"of {len(timm.list_models()) + len(OWN)} names the nearest are " in str(
        error.value
    )
    with pytest.raises(UserError, match=r"unknown torchvision architecture 'torchvision/resnet19' \(did you mean"):
        create_model("torchvision/resnet19", 3)
    with pytest.raises(UserError, match="'torchvision/googlenet' has no single linear head"):
        create_model("torchvision/googlenet", 3)
    with pytest.raises(UserError, match="the project has no configuration of 'transformers/vit-0'"):
        create_model("transformers/vit-0", 3)
