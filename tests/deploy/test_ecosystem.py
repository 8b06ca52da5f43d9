"""Checkpoints of other libraries: in, calibrated, out, and loaded again by the library that they are of."""

import json
import re

import pytest
import safetensors.torch
import timm
import torch
import torchvision
import transformers
from PIL import Image

from analysis_lib import ClassSplit, UserError, calibrate, shift_logits
from analysis_lib.models.user_network import open_network
from tests.deploy.newcomer import main
from tests.models.ecosystem import NAMES, save_timm, save_transformers, torchvision_network, transformer_network

SEEN, SPLIT = ["ash", "elm"], ClassSplit(4, [0, 3])


def logits(model, x):
    """Logits of a network as its own library makes it."""
    with torch.no_grad():
        answer = model.eval()(x)
    return getattr(answer, "logits", answer)


@pytest.fixture(scope="module")
def x():
    return torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Four small images of each seen class."""
    folder = tmp_path_factory.mktemp("images")
    random = torch.Generator().manual_seed(0)
    for name in SEEN:
        (folder / name).mkdir()
        for k in range(4):
            pixels = torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8, generator=random)
            Image.fromarray(pixels.numpy()).save(folder / name / f"{k}.png")
    return folder


def command(verb, images, checkpoint, output, *more):
    given = [verb, "--checkpoint", checkpoint, "--data", images, "--seen", ",".join(SEEN), "--output", output]
    return [*given, "--device", "cpu", *more]


def check_shifted(before, after, gamma):
    """Seen logits are equal to the bit, absent ones up to the rounding of one addition."""
    assert gamma != 0
    assert torch.equal(after[:, [0, 3]], before[:, [0, 3]])
    torch.testing.assert_close(after, shift_logits(before, SPLIT, gamma), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_a_folder_of_transformers(kind, images, x, tmp_path, capsys):
    before = save_transformers(tmp_path / "in", kind)
    out = tmp_path / "out"
    assert main(command("calibrate", images, tmp_path / "in", out)) == 0
    assert "4 classes (names from the checkpoint), 2 seen and 2 absent" in capsys.readouterr().out
    after = transformers.AutoModelForImageClassification.from_pretrained(out)
    gamma = json.loads((tmp_path / "out.json").read_text())["gamma"]
    check_shifted(logits(before, x), logits(after, x), gamma)
    assert after.config.id2label == dict(enumerate(NAMES))
    assert (out / "preprocessor_config.json").read_bytes() == (tmp_path / "in/preprocessor_config.json").read_bytes()
    recorded = json.loads((out / "config.json").read_text())["analysis_lib"]
    assert recorded["gamma"] == gamma and len(recorded["weights_sha256"]) == 64
    page = (tmp_path / "out.html").read_text()
    assert "AutoModelForImageClassification.from_pretrained(" in page
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["images"]["input_size"] == [3, 32, 32] and report["images"]["mean"] == [0.4] * 3
    assert report["class_names"] == NAMES

    saved = {path.name: path.read_bytes() for path in out.iterdir()}
    assert main(command("calibrate", images, tmp_path / "in", out)) == 0
    assert saved == {path.name: path.read_bytes() for path in out.iterdir()}, "the same bytes again"
    assert main(command("calibrate", images, out, tmp_path / "twice")) == 2
    assert "out is calibrated already (gamma = " in capsys.readouterr().err
    assert not (tmp_path / "twice").exists()


def test_a_folder_of_timm(images, x, tmp_path):
    before = save_timm(tmp_path / "in")
    assert main(command("calibrate", images, tmp_path / "in", tmp_path / "out")) == 0
    after = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    report = json.loads((tmp_path / "out.json").read_text())
    check_shifted(logits(before, x), logits(after, x), report["gamma"])
    assert report["class_names"] == NAMES and report["images"]["std"] == [0.3] * 3
    assert report["model"] == "test_resnet"
    recorded = json.loads((tmp_path / "out/config.json").read_text())
    assert recorded["label_names"] == NAMES and recorded["analysis_lib"]["gamma"] == report["gamma"]


def test_a_checkpoint_of_torchvision(images, x, tmp_path):
    before = torchvision_network()
    torch.save({"state_dict": before.state_dict()}, tmp_path / "in.pth")
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    options = ["--model", "torchvision/shufflenet_v2_x0_5", "--classes", tmp_path / "names.txt", "--image-size", "32"]
    assert main(command("calibrate", images, tmp_path / "in.pth", tmp_path / "out.safetensors", *options)) == 0
    after = torchvision.models.get_model("shufflenet_v2_x0_5", num_classes=4)
    after.load_state_dict(safetensors.torch.load_file(tmp_path / "out.safetensors"))
    gamma = json.loads((tmp_path / "out.json").read_text())["gamma"]
    check_shifted(logits(before, x), logits(after, x), gamma)
    assert "torchvision.models.get_model(" in (tmp_path / "out.html").read_text()
    options[options.index("--classes") :] = ["--image-size", "32"]
    assert main(command("calibrate", images, tmp_path / "out.safetensors", tmp_path / "a.safetensors", *options)) == 2


def test_finetune_gives_a_folder_that_transformers_loads(images, x, tmp_path, project):
    before = save_transformers(project / "in", "resnet")
    options = ["--epochs", "1", "--lr", "0.1", "--hold-out", "0", "--batch-size", "4"]
    assert main(command("finetune", images, project / "in", project / "out", *options)) == 0
    after = transformers.AutoModelForImageClassification.from_pretrained(project / "out")
    assert after(x).logits.shape == (5, 4)
    assert not torch.equal(logits(before, x), logits(after, x))
    assert main(command("finetune", images, project / "in", project / "plain", *options, "--no-calibrate")) == 0
    plain = transformers.AutoModelForImageClassification.from_pretrained(project / "plain")
    assert "analysis_lib" not in json.loads((project / "plain/config.json").read_text())
    gamma = json.loads((project / "out.json").read_text())["gamma"]
    check_shifted(logits(plain, x), logits(after, x), gamma)


def test_fewer_names_cut_the_head_by_name(images, x, tmp_path):
    before = save_transformers(tmp_path / "in")
    (tmp_path / "names.txt").write_text("elm\nbirch\nash\n")
    options = ["--classes", tmp_path / "names.txt"]
    assert main(command("calibrate", images, tmp_path / "in", tmp_path / "out", *options)) == 0
    after = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "out")
    assert after.config.id2label == {0: "elm", 1: "birch", 2: "ash"}
    gamma = json.loads((tmp_path / "out.json").read_text())["gamma"]
    cut = logits(before, x)[:, [3, 1, 0]]
    torch.testing.assert_close(logits(after, x), cut + torch.tensor([0, gamma, 0]).float(), rtol=0, atol=1e-6)


def test_calibrate_in_python_takes_a_network_that_answers_with_logits(x):
    network = transformer_network("vit")
    result = calibrate(network, [(x, torch.tensor([0, 3, 0, 3, 0]))], seen=[0, 3])
    check_shifted(logits(network, x), logits(result.model, x), result.gamma)
    assert type(result.model) is type(network)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--checkpoint IN --model resnet18", "in holds transformers/vit-[0-9a-f]{12}, not resnet18; leave out --model"),
        ("--output OUT.safetensors", "the checkpoint is a folder; name a folder to write"),
        ("--output .", "which has no name of its own; name a file or folder to write"),
        (
            "--pretrained OTHER",
            "other and .*in name their outputs differently, or in another order; give networks with",
        ),
        ("--output IN", "in is an input too; choose another --output"),
        ("--checkpoint IN/model.safetensors --output OUT.safetensors", "--model is missing"),
        (
            "--checkpoint IN/model.safetensors --model test_vit --output OUT.safetensors",
            "names are those of the library transformers: give the",
        ),
        ("--seen ash,oak", "unknown class in --seen 'oak'"),
    ],
)
def test_a_mistake_is_one_sentence(images, tmp_path, capsys, options, sentence):
    save_transformers(tmp_path / "in")
    save_transformers(tmp_path / "other", names=NAMES[::-1])
    capsys.readouterr()
    options = options.replace("OTHER", str(tmp_path / "other"))
    options = options.replace("IN", str(tmp_path / "in")).replace("OUT", str(tmp_path / "out"))
    assert main([*command("calibrate", images, tmp_path / "in", tmp_path / "out"), *options.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert re.search(sentence, error), error
    assert not (tmp_path / "out").exists()


def test_what_is_opened_again_is_the_network(x, tmp_path):
    for save in (save_transformers, save_timm):
        network = save(tmp_path / save.__name__)
        opened = open_network(None, tmp_path / save.__name__)
        assert torch.equal(logits(opened.model, x), logits(network, x))
        assert opened.names.names == NAMES
    with pytest.raises(UserError, match="--model is missing"):
        open_network(None, tmp_path / "none.pth")
