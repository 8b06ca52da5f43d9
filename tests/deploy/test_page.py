"""The page of `calibrate` and `finetune` in a real browser, in each of its shapes."""

import numpy as np
import pytest
import timm
import torch

from tests.browser import check_access, check_keyboard, check_whole, show
from tests.deploy.newcomer import ARCH, LOOK, NAMES, SEEN, dataset, main, save_images

LONG = [f"樹木の名前がとても長い {'Ünïcödé und noch länger ' * 3}<b>& $x$ 🌲 nº {c}" for c in range(200)]


def save_logits(path, labels, classes, lead, random):
    """Ready logits whose classes below 60 % lead by `lead`, as after fine-tuning on them."""
    logits = torch.randn(len(labels), classes, generator=random) + 3 * torch.eye(classes)[labels]
    logits[:, : classes * 3 // 5] += lead
    np.savez(path, logits=logits.numpy(), labels=labels.numpy())


def from_network(folder, random):
    """`finetune` with folds on a tiny network that has learnt nothing: every section, and every warning."""
    torch.manual_seed(1)
    torch.save(timm.create_model(ARCH, num_classes=10).state_dict(), folder / "pretrained.pth")
    (folder / "names.txt").write_text("\n".join(NAMES))
    save_images(folder / "train", *dataset(SEEN, 6, True, random))
    save_images(folder / "test", *dataset(range(10), 3, True, random))
    return ["finetune", "--model", ARCH, "--checkpoint", folder / "pretrained.pth", "--data", folder / "train",
            "--test", folder / "test", "--classes", folder / "names.txt", "--epochs", 1, "--folds", *LOOK,
            "--output", folder / "page.safetensors"]  # fmt: skip


def with_warnings(folder, random):
    """`calibrate` on logits that are mostly wrong, without test data."""
    save_logits(folder / "data.npz", torch.arange(60) % 6, 10, -9, random)
    return ["calibrate", "--data", folder / "data.npz", "--seen", "0,1,2,3,4,5", "--output", folder / "page.json"]


def with_many_long_names(folder, random):
    """`calibrate` on two hundred classes whose names are long and of several scripts."""
    (folder / "names.txt").write_text("\n".join(LONG), encoding="utf-8")
    (folder / "seen.txt").write_text("\n".join(LONG[:120]), encoding="utf-8")
    save_logits(folder / "data.npz", torch.arange(360) % 120, 200, 2, random)
    save_logits(folder / "test.npz", torch.arange(400) % 200, 200, 2, random)
    return ["calibrate", "--data", folder / "data.npz", "--test", folder / "test.npz", "--seen", folder / "seen.txt",
            "--classes", folder / "names.txt", "--method", "alg", "--output", folder / "page.json"]  # fmt: skip


@pytest.fixture(scope="module", params=[from_network, with_warnings, with_many_long_names], ids=lambda f: f.__name__)
def page(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param.__name__)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTC_ROOT", str(folder))
        assert main(request.param(folder, torch.Generator().manual_seed(3))) == 0
    return folder / "page.html"


@pytest.mark.parametrize("width", [1280, 400])
def test_it_is_whole_and_reached_by_keyboard(page, browser, width):
    show(browser, page.as_uri(), width)
    check_whole(browser)
    check_keyboard(browser)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page, browser, axe, scheme):
    show(browser, page.as_uri(), 400, scheme)
    check_access(browser, axe)
