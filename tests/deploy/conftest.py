import argparse

import pytest
import timm
import torch

from tests.deploy.newcomer import ARCH, NAMES, SEEN, dataset, plain_loop, save_images


@pytest.fixture(scope="session")
def newcomer(tmp_path_factory):
    """A folder with train/ (seen classes), test/ (all), pretrained.pth, finetuned.pth and names.txt."""
    folder = tmp_path_factory.mktemp("newcomer")
    random = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    model = timm.create_model(ARCH, num_classes=10)
    plain_loop(model, *dataset(range(10), 100, False, random), 4, 0.05, random)
    torch.save(model.state_dict(), folder / "pretrained.pth")
    train, test = dataset(SEEN, 40, True, random), dataset(range(10), 40, True, random)
    save_images(folder / "train", *train)
    save_images(folder / "test", *test)
    plain_loop(model, *train, 10, 0.02, random)
    wrapped = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"epoch": 4, "state_dict": wrapped, "args": argparse.Namespace(lr=0.05)}, folder / "finetuned.pth")
    (folder / "names.txt").write_text("\n".join(NAMES) + "\n")
    return folder
