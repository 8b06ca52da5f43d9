"""A network of the user's under a benchmark: cut by name, imported, named in the manifest, and run."""

import json
import sys

import pandas as pd
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image

from analysis_lib import UserError
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.benchmarks.own_data import write_manifest
from analysis_lib.core import files, paths
from analysis_lib.models.backbone import features_and_logits, head_name
from analysis_lib.models.create import create_model
from analysis_lib.models.imported import import_weights
from analysis_lib.models.pretrained import named_weights
from analysis_lib.models.stages import stages_and_logits
from analysis_lib.models.user_network import open_network
from analysis_lib.runs.execute import execute
from analysis_lib.runs.outputs import load_outputs
from analysis_lib.runs.plan import plan
from tests.deploy.newcomer import main
from tests.models.ecosystem import save_timm, save_transformers, torchvision_network

CLASSES = ["elm", "ash", "fir"]
OUTPUTS = ["ash", "birch", "Elm", "fir", "gum"]  # of the networks: more, and in another order
ROWS = [2, 0, 3]


@pytest.fixture
def mine(project):
    """A manifest of 3 classes with 4 training, 2 test and 2 source images each."""
    random, rows = torch.Generator().manual_seed(0), []
    for label, name in enumerate(CLASSES):
        for k in range(8):
            pixels = torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8, generator=random)
            (project / "images").mkdir(exist_ok=True)
            Image.fromarray(pixels.numpy()).save(project / "images" / f"{name}{k}.png")
            split = "train" if k < 4 else "test" if k < 6 else "source"
            rows.append((f"{name}{k}.png", label, split, f"{name}{k}"))
    head = {
        "title": "mine",
        "seen": ["elm", "ash"],
        "model": "test_resnet",
        "weights": "source",
        "image_size": 16,
        "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
        "augmentation": {"scale": (0.7, 1.0), "flip": True},
    }
    body = pd.DataFrame(rows, columns=["path", "label", "split", "group"])
    write_manifest("mine", project / "images", body, CLASSES, head)
    return "mine"


def network_action(project, *options):
    return main(["manifest", "network", "mine", *options])


def saved(project, library):
    """The options of `manifest network` for a network of a library, and its logits as a function."""
    if library == "torchvision":
        network = torchvision_network(5)
        safetensors.torch.save_file(network.state_dict(), project / "in.safetensors")
        (project / "outputs.txt").write_text("\n".join(OUTPUTS))
        options = ["--model", "torchvision/shufflenet_v2_x0_5", "--weights", project / "in.safetensors"]
        return [*options, "--classes", project / "outputs.txt", "--image-size", "32"], network
    save = save_timm if library == "timm" else save_transformers
    network = save(project / "in", names=OUTPUTS)
    return ["--weights", project / "in"], network


@pytest.mark.parametrize("library", ["timm", "torchvision", "transformers"])
def test_the_studies_run_on_it(mine, project, capsys, library):
    options, network = saved(project, library)
    assert network_action(project, *options) == 0
    assert "json names it now" in capsys.readouterr().out
    head = load_manifest("mine").head
    assert head.image_size == 32 and head.backbone is None and paths.imported_weights(head.weights).is_file()
    if library != "torchvision":
        assert head.mean == (0.4,) * 3 and head.std == (0.3,) * 3

    (spec,) = plan("mine", "smoke", [0])
    execute(spec, "cpu")
    model = create_model(head.model, 3).eval()
    model.load_state_dict(files.read_tensors(paths.imported_weights(head.weights)))
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = network(x)
        features, logits = features_and_logits(model, x)
        stages, again = stages_and_logits(model, x)
    torch.testing.assert_close(logits, getattr(whole, "logits", whole)[:, ROWS], rtol=0, atol=1e-6)
    assert torch.equal(logits, again)
    assert features.shape == (3, model.get_classifier().in_features) and len(stages) > 1
    assert f"{head_name(model)}.bias" in model.state_dict()
    assert load_outputs(paths.run_outputs(spec.run_id, 1, "test")).logits.shape == (6, 3)

    kept = {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in project.rglob("data*/**/*") if path.is_file()
    }
    assert network_action(project, *options) == 0
    assert "json named it already" in capsys.readouterr().out
    assert kept == {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in project.rglob("data*/**/*") if path.is_file()
    }


def test_a_source_start_imports_the_backbone(mine, project):
    save_timm(project / "in", names=["a", "b"])
    assert network_action(project, "--weights", project / "in", "--source-start") == 0
    head = load_manifest("mine").head
    assert head.weights == "source" and head.model == "test_resnet"
    weights = files.read_tensors(paths.imported_weights(head.backbone))
    assert {"fc.weight", "fc.bias"} == set(timm.create_model("test_resnet").state_dict()) - set(weights)


def test_the_name_holds_the_content(project):
    save_timm(project / "in", names=["a", "b"])
    network = open_network(None, project / "in")
    name = import_weights(network, 2)
    assert name.startswith("test_resnet-") and import_weights(network, 2) == name
    with torch.no_grad():
        network.model.get_classifier().bias += 1
    assert import_weights(network, 2) != name


def test_weights_that_do_not_fit_are_refused(mine, project):
    save_timm(project / "in", names=OUTPUTS)
    assert network_action(project, "--weights", project / "in") == 0
    with pytest.raises(UserError, match="does not fit the benchmark's model: 2 tensors of another shape, first 'fc"):
        named_weights(load_manifest("mine").head.weights, create_model("test_resnet", 5), None)


def test_mistakes_change_nothing(mine, project, capsys):
    save_transformers(project / "in", names=["ash", "elm", "birch"])
    save_timm(project / "nameless", names=None)
    save_transformers(project / "whole", names=["ash", "elm", "fir"])
    before = paths.manifest_head("mine").read_bytes()
    mistakes = {
        ("--weights", project / "in"): r"in has no output for 1 of 3 classes: 'fir'; rename the classes",
        ("--weights", project / "nameless"): "does not name its 4 outputs; give their names with --classes FILE",
        ("--weights", project / "none.pth", "--model", "resnet18"): "there is no file none.pth",
        ("--weights", project / "none.pth"): "--model is missing",
        ("--weights", project / "images"): "cannot read images/config.json",
        ("--weights", project / "whole", "--mean", "nan", "0", "0"): "field 'mean.0': Input should be a finite number",
        ("--weights", project / "whole", "--image-size", "48"): "takes no images of 48 pixels (",
    }
    for options, sentence in mistakes.items():
        assert network_action(project, *options) == 2
        error = capsys.readouterr().err
        assert sentence in error and error.count("\n") == 1, error
    assert paths.manifest_head("mine").read_bytes() == before
    assert main(["manifest", "network", "emoji", "--weights", project / "in", "--source-start"]) == 2
    assert "benchmark 'emoji' has no source images to train a head on; add rows" in capsys.readouterr().err


def test_folders_that_are_not_opened(project, capsys, monkeypatch):
    save_transformers(project / "in")
    weights = (project / "in/model.safetensors").rename(project / "in/pytorch_model.bin")
    cases = {"in has no model.safetensors, and pickled weights are not read from a folder": lambda: None}

    def restore(change):
        def act():
            if weights.exists():
                weights.rename(project / "in/model.safetensors")
            config = json.loads((project / "in/config.json").read_text())
            (project / "in/config.json").write_text(json.dumps(change(config)))

        return act

    cases |= {
        "of another shape, first 'classifier.bias'": restore(lambda c: c | {"id2label": {"0": "a", "1": "b"}}),
        "has neither timm's 'architecture' nor transformers' 'model_type'": restore(
            lambda c: {k: v for k, v in c.items() if k != "model_type"}
        ),
        "cannot open in as an image classifier": restore(lambda c: c | {"model_type": "bert", "auto_map": {"a": "b"}}),
        "unknown timm architecture 'resnet-18'": restore(lambda c: {"architecture": "resnet-18", "num_classes": 4}),
    }
    for sentence, change in cases.items():
        change()
        assert main(["manifest", "network", "digits", "--weights", project / "in"]) == 2
        error = capsys.readouterr().err
        assert sentence in error and error.count("\n") == 1, error
    save_transformers(project / "again")
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert main(["manifest", "network", "digits", "--weights", project / "again"]) == 2
    assert "the library transformers, which is not installed; run `pip install" in capsys.readouterr().err


def test_a_download_that_fails_is_one_sentence(project, capsys, monkeypatch):
    def closed(name, **options):
        raise OSError("the network is unreachable\nmore")

    monkeypatch.setattr(timm, "create_model", closed)
    assert main(["manifest", "network", "digits", "--model", "resnet18", "--weights", "timm"]) == 2
    error = capsys.readouterr().err
    assert "error: timm cannot download weights of resnet18 (the network is unreachable); give a file" in error
