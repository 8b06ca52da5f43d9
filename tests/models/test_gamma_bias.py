import copy

import pytest
import timm
import torch
from torch import nn

from analysis_lib import ClassSplit, UserError, shift_logits
from analysis_lib.models.gamma_bias import fold_gamma, logits_of

SPLIT = ClassSplit(7, [0, 2, 5])
ARCHITECTURES = {  # one of each family, and a size that it takes
    "resnet18": 64,
    "resnetv2_50": 64,  # its head is a 1x1 convolution
    "convnext_atto": 64,
    "vit_tiny_patch16_224": 224,
    "swin_tiny_patch4_window7_224": 224,
    "tf_efficientnet_lite0": 64,
    "mobilenetv3_small_050": 64,
    "regnetx_002": 64,
    "densenet121": 64,
    "mixer_s32_224": 224,
    "resmlp_12_224": 224,
    "mobilevit_xxs": 64,
    "edgenext_xx_small": 64,
    "poolformer_s12": 64,
    "deit_tiny_distilled_patch16_224": 224,  # two heads, averaged
    "efficientformer_l1": 224,
    "levit_128s": 224,
    "repvit_m0_9": 64,
    "crossvit_tiny_240": 240,
}


def close(a, b):
    return torch.allclose(a, b, rtol=0, atol=1e-5 * (1 + b.abs().max().item()))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_folded_and_shifted_logits_agree(name, random):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=7)
    before = copy.deepcopy(model.state_dict())
    x = torch.rand(2, 3, ARCHITECTURES[name], ARCHITECTURES[name], generator=random)
    folded = fold_gamma(model, SPLIT, 2.5, x)
    fresh = torch.rand(x.shape, generator=random)
    expected = shift_logits(logits_of(model, fresh), SPLIT, 2.5)
    assert close(logits_of(folded, fresh), expected)
    assert not close(logits_of(model, fresh), expected)
    assert type(folded) is type(model) and folded.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items()), "the original stays as it was"
    changed = {key for key, tensor in folded.state_dict().items() if not torch.equal(tensor, before[key])}
    assert changed and all(key.endswith("bias") for key in changed)
    timm.create_model(name, num_classes=7).load_state_dict(folded.state_dict())


def plain_models():
    class Named(nn.Module):
        """As torchvision builds them: the head is registered before another layer as wide as itself."""

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)
            self.fc = nn.Linear(8, 7)
            self.unused = nn.Linear(8, 7)

        def forward(self, x):
            return self.fc(self.conv(x).mean((2, 3)))

    return {
        "sequential": (nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 7)), torch.rand(4, 3, 2, 2)),
        "dropout after the head's input": (nn.Sequential(nn.Linear(12, 9), nn.Dropout(0.5), nn.Linear(9, 7)), None),
        "named": (Named(), None),
        "without bias": (nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 7, bias=False)), None),
        "double": (nn.Sequential(nn.Linear(12, 7)).double(), None),
        "bfloat16": (nn.Sequential(nn.Linear(12, 7)).bfloat16(), None),
    }


@pytest.mark.parametrize("name", plain_models())
def test_plain_torch_modules(name):
    model, probe = plain_models()[name]
    folded = fold_gamma(model, SPLIT, -1.25, probe)
    x = probe if probe is not None else torch.rand(3, 3, 16, 16) if name == "named" else torch.rand(3, 12)
    x = x.to(next(model.parameters()).dtype)
    difference = (logits_of(folded, x) - logits_of(model, x)).float()
    assert torch.allclose(difference, -1.25 * (~SPLIT.seen_mask).float().expand(len(x), 7), atol=0.02 if name == "bfloat16" else 1e-5)


def test_a_head_without_bias_gains_one_and_nothing_else():
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 7, bias=False))
    folded = fold_gamma(model, SPLIT, 3.0)
    assert folded.state_dict().keys() - model.state_dict().keys() == {"2.bias"}
    assert torch.equal(folded[2].bias, 3.0 * (~SPLIT.seen_mask))


def test_gamma_zero_changes_nothing(random):
    model = timm.create_model("test_resnet", num_classes=7)
    folded = fold_gamma(model, SPLIT, 0.0)
    assert folded is not model
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), folded.state_dict().values()))


def test_every_submodule_keeps_its_mode_and_statistics():
    model = timm.create_model("test_resnet", num_classes=7).train()
    model.bn1.eval()
    modes = [module.training for module in model.modules()]
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    folded = fold_gamma(model, SPLIT, 1.0)
    assert torch.equal(torch.rand(1), expected), "the global random numbers are the caller's"
    assert modes == [module.training for module in model.modules()] == [module.training for module in folded.modules()]
    assert model.bn1.num_batches_tracked == 0 and model.layer1[0].bn1.num_batches_tracked == 0


def test_folding_twice_is_refused_also_on_a_copy():
    folded = fold_gamma(nn.Sequential(nn.Linear(4, 7)), SPLIT, 1.5)
    for model in (folded, copy.deepcopy(folded)):
        with pytest.raises(UserError, match=r"already carries gamma = 1\.5 in its head; start again"):
            fold_gamma(model, SPLIT, 1.0)


class Wrapped(nn.Module):
    """A linear layer and what an unknown head makes of it."""

    def __init__(self, after, outputs=7):
        super().__init__()
        self.head = nn.Linear(4, outputs)
        self.after = after

    def get_classifier(self):
        return self.head

    def forward(self, x):
        return self.after(self.head(x))


@pytest.mark.parametrize("gamma", [0.0, 1e-9, 2.0])
@pytest.mark.parametrize("after", [lambda z: 3 * z, lambda z: z.log_softmax(1), lambda z: z.flip(1), lambda z: z - z.mean(1, keepdim=True)])
def test_a_head_whose_bias_does_not_shift_the_logits_is_refused(after, gamma):
    with pytest.raises(UserError, match=r"cannot fold gamma into the head of Wrapped \(Linear\): no bias of it shifts the 7 logits"):
        fold_gamma(Wrapped(after), SPLIT, gamma)


@pytest.mark.parametrize(
    ("model", "gamma", "sentence"),
    [
        (nn.Sequential(nn.Linear(4, 7), nn.Tanh()), 1.0, r"cannot fold gamma into the head of Sequential \(Tanh\)"),
        (nn.Sequential(nn.Linear(4, 6)), 1.0, "the model has 6 outputs and the split 7 classes"),
        (nn.Sequential(nn.Linear(4, 7)), float("nan"), "gamma is nan; give a finite number"),
        (nn.Sequential(nn.ReLU()), 1.0, "Sequential has no Linear or Conv2d layer"),
        (Wrapped(lambda z: (z, z)), 1.0, r"Wrapped answers with a tuple; wrap it so that it returns logits \(N, C\)"),
        (Wrapped(lambda z: z[:, :, None]), 1.0, r"Wrapped answers with a tensor of shape \(2, 7, 1\)"),
        (Wrapped(lambda z: z / 0), 1.0, "answers with logits that are not finite"),
        (nn.Sequential(nn.Flatten(), nn.Conv2d(3, 7, 1)), 1.0, r"Sequential cannot take a batch of shape \(2, 3, 224, 224\)"),
    ],
)
def test_what_cannot_be_folded_is_one_sentence(model, gamma, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        fold_gamma(model, SPLIT, gamma)
    assert "\n" not in str(error.value)
