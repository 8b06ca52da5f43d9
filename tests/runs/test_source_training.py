"""Where no classifier of the classes exists, the starting network is trained on the rows of the split `source`."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from analysis_lib import UserError
from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.benchmarks.own_data import write_manifest
from analysis_lib.core import files, paths
from analysis_lib.models.create import create_model
from analysis_lib.runs.execute import execute, load_before_after
from analysis_lib.runs.outputs import load_outputs
from analysis_lib.runs.plan import plan, pretraining, run_before
from analysis_lib.studies import open_study

NAMES = ["red", "green", "blue", "grey"]
HEAD = {
    "title": "Coloured squares",
    "seen": 0.5,
    "model": "digits_cnn",
    "weights": "source",
    "image_size": 16,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "augmentation": {"scale": [0.8, 1.0], "flip": True},
}


def write_images(folder, brightness=100):
    """Four colours; the source is dark, the target has the given brightness. Returns the rows of a manifest."""
    random = np.random.default_rng(0)
    rows = []
    for part, level, count in (("source", 40, 30), ("train", brightness, 8), ("test", brightness, 4)):
        for label, name in enumerate(NAMES):
            for number in range(count):
                image = random.integers(0, 30, (16, 16, 3))
                image[..., [label] if label < 3 else [0, 1, 2]] += level + 60
                path = folder / part / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image.astype(np.uint8)).save(path)
                rows.append((f"{part}/{name}/{number}.png", label, part, f"{part}-{name}-{number}"))
    return pd.DataFrame(rows, columns=["path", "label", "split", "group"])


@pytest.fixture
def squares(project):
    return write_manifest("squares", project / "photos", write_images(project / "photos"), NAMES, HEAD)


def test_both_trainings_are_runs_and_the_network_knows_its_source(squares):
    (spec,) = plan("squares", "smoke", [0])
    source = pretraining(squares, "float32")
    assert run_before(spec, squares) == source and spec.init == source.run_id
    execute(spec, "cpu")
    assert paths.run_done(source.run_id).exists() and paths.run_done(spec.run_id).exists()
    history = [json.loads(line) for line in paths.run_metrics(source.run_id).read_text().splitlines()]
    assert history[-1]["n"] == (squares.body["split"] == "source").sum() == 120
    assert history[-1]["train_accuracy"] > 0.9
    before, _ = load_before_after(spec, "cpu")
    for name, tensor in files.read_tensors(paths.run_model(source.run_id)).items():
        assert torch.equal(before.state_dict()[name], tensor)


def test_target_images_do_not_reach_the_source_training(squares):
    source = pretraining(squares, "float32")
    execute(source, "cpu")
    first = paths.run_model(source.run_id).read_bytes()
    shutil.rmtree(paths.run(source.run_id))
    images = load_images(squares).clone()
    images[squares.target_rows] = 0
    files.write_tensors(paths.image_cache(squares.name, squares.digest), {"images": images})
    execute(source, "cpu")
    assert paths.run_model(source.run_id).read_bytes() == first


def test_no_source_image_is_fine_tuned_on_or_scored(squares):
    (spec,) = plan("squares", "smoke", [0])
    execute(spec, "cpu")
    for part in ("train", "test"):
        index = load_outputs(paths.run_outputs(spec.run_id, 0, part)).index
        assert set(squares.body["split"].iloc[index.numpy()]) == {part}
        after = load_outputs(paths.run_outputs(spec.run_id, spec.epochs, part)).index
        assert torch.equal(index, after)


def test_a_study_runs_on_it(squares):
    runs = open_study("accuracy", "squares", "smoke", [0], "cpu")
    test = runs.outputs(runs.specs[0], 0, "test")
    assert len(test.labels) == 16 and (test.logits.argmax(1) == test.labels).float().mean() > 0.5


def test_the_training_starts_from_an_imported_backbone(project):
    torch.manual_seed(0)
    backbone = {k: v for k, v in create_model("digits_cnn", 4).state_dict().items() if not k.startswith("head.")}
    files.write_tensors(paths.imported_weights("mine"), backbone)
    head = HEAD | {"backbone": "mine"}
    manifest = write_manifest("squares", project / "photos", write_images(project / "photos"), NAMES, head)
    source = pretraining(manifest, "float32")
    assert source.init == "mine" and load_manifest("squares").head.backbone == "mine"
    execute(source, "cpu")
    heads = files.read_tensors(paths.run_head(source.run_id, 0))
    fresh = create_model("digits_cnn", 4).state_dict()
    assert heads["weight"].shape == fresh["head.weight"].shape
    missing = write_manifest(
        "squares", project / "photos", write_images(project / "photos"), NAMES, head | {"backbone": "no"}
    )
    with pytest.raises(UserError, match="unknown weights 'no'"):
        execute(pretraining(missing, "float32"), "cpu")


def test_source_weights_without_source_images_are_refused(project):
    rows = write_images(project / "photos").query("split != 'source'").reset_index(drop=True)
    write_manifest("squares", project / "photos", rows, NAMES, HEAD)
    with pytest.raises(UserError, match=r"trains its network on source images and has none; add rows of the split"):
        plan("squares", "smoke", [0])
