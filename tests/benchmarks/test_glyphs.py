import numpy as np
import pandas as pd
import pytest
import torch

from analysis_lib import UserError
from analysis_lib.benchmarks import glyphs
from analysis_lib.benchmarks.manifest import SOURCE, load_manifest
from analysis_lib.core import paths

NAMES = ["glyphs", "glyphs_vit", "glyphs_display"]


@pytest.mark.parametrize("name", NAMES)
def test_a_family_lies_on_one_side_and_the_target_is_large(name):
    body = load_manifest(name).body
    family = body["path"].str.split("/").str[0]
    assert (family == body["group"]).all()
    assert (body.groupby("group")["split"].nunique() == 1).all()
    domains = pd.read_csv(paths.glyphs_families()).set_index("family")["domain"]
    target = "display" if name == "glyphs_display" else "handwriting"
    assert set(domains[family[body["split"] == SOURCE].unique()]) == set(glyphs.PRINT)
    assert set(domains[family[body["split"] != SOURCE].unique()]) == {target}
    assert (body["split"] != SOURCE).sum() >= 6000
    for part in ("train", "test", SOURCE):
        assert body.loc[body["split"] == part, "label"].nunique() == 62


def test_a_row_names_its_character():
    body = load_manifest("glyphs").body
    assert (body["path"].str.extract(r"/(\d+)-")[0].astype(int) == body["label"]).all()


def test_both_networks_share_the_images():
    first, second = load_manifest("glyphs"), load_manifest("glyphs_vit")
    assert first.head.sha256 == second.head.sha256 and first.digest != second.digest
    assert not paths.manifest_body("glyphs_vit").exists()


def test_a_rendering_depends_on_its_row_alone():
    path = "caveat/400/10-3"
    assert np.array_equal(glyphs.render(path), glyphs.render(path))
    assert not np.array_equal(glyphs.render(path), glyphs.render("caveat/400/10-4"))
    assert not np.array_equal(glyphs.render(path), glyphs.render("caveat/700/10-3"))


@pytest.mark.parametrize("small", ["c", "o", "s", "v", "w", "x", "z"])
def test_twins_keep_their_sizes(small):
    """Where a family has two cases, the capital of a twin has more rows of ink."""

    def height(character):
        drawn = glyphs.draw_character("lora", 400, character, 64)
        _, top, _, bottom = drawn.getbbox()
        return bottom - top

    assert height(small.upper()) > 1.2 * height(small)


def test_families_of_capitals_have_no_lower_case():
    assert glyphs.lower_case_is_capitals("permanent-marker")
    assert not glyphs.lower_case_is_capitals("kalam")
    body = load_manifest("glyphs").body
    own = body.loc[body["group"] == "permanent-marker", "label"]
    assert set(own) == {label for label, character in enumerate(glyphs.CHARACTERS) if not character.islower()}


def test_no_character_is_empty_or_cut():
    body = load_manifest("glyphs").body
    for path in body.groupby(["group", "label"]).head(1)["path"].sample(150, random_state=0):
        image = glyphs.render(path).astype(int)
        assert image.max() > 60, path
        edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert (edge > 100).mean() < 0.05, path


def test_changed_and_missing_fonts_are_named(monkeypatch):
    manifest = load_manifest("glyphs")
    wrong = manifest.head.licences[0].model_copy(update={"integrity": "0" * 64})
    with pytest.raises(UserError, match=r"the fonts of fontpkg-andada-pro are not those of version .*pip install"):
        glyphs.check_fonts([wrong])
    with pytest.raises(UserError, match=r"the font package fontpkg-no-such is not installed .*\[glyphs\]"):
        glyphs.font_family("no-such")


def test_images_are_renderings_of_the_rows(monkeypatch):
    manifest = load_manifest("glyphs")
    few = manifest.body.iloc[[0, 9000, 14000]].reset_index(drop=True)
    part = type(manifest)(manifest.head, few, manifest.digest)
    images = glyphs.build_images(part)
    assert images.shape == (3, 3, 32, 32) and images.dtype == torch.uint8
    for image, path in zip(images, few["path"]):
        assert np.array_equal(image[1], glyphs.render(path))
