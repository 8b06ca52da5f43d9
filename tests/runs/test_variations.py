"""The variations of the recipe that ablations need: no augmentation, few images of each class, a cosine head."""

from dataclasses import replace

import pytest
import torch

from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.benchmarks.preprocess import normalizer
from analysis_lib.core import files, paths
from analysis_lib.core.seeds import generator_for
from analysis_lib.models.cosine_head import CosineHead, logit_scale
from analysis_lib.runs.execute import execute, load_before_after, training_data
from analysis_lib.runs.outputs import extract, load_outputs
from analysis_lib.runs.plan import plan, upper_bound
from analysis_lib.runs.rows import training_rows
from tests.conftest import make_root


@pytest.fixture
def spec(project):
    return plan("digits", "smoke", [0])[0]


def rows_of(spec, **changes):
    return training_rows(load_manifest("digits"), replace(spec, **changes))


def test_without_augmentation_images_are_only_normalised(spec):
    manifest = load_manifest("digits")
    images, head, cpu = load_images(manifest), manifest.head, torch.device("cpu")
    rows = torch.arange(6)
    batches = {}
    for augmented in (True, False):
        run = replace(spec, augmented=augmented)
        data = training_data(images, manifest.labels, rows, run, head, cpu)
        batches[augmented] = [data.batch(rows, generator_for("test", draw))[0] for draw in range(2)]
    as_is = normalizer(head.mean, head.std, torch.float64, cpu)(images[rows])
    assert torch.equal(batches[False][0], as_is) and torch.equal(batches[False][1], as_is)
    assert not torch.equal(batches[True][0], batches[True][1])


def test_fewer_images_of_each_class_are_nested_and_even(spec):
    labels = load_manifest("digits").labels
    whole = rows_of(spec)
    before = torch.empty(0, dtype=torch.int64)
    for number in (1, 5, 20):
        rows = rows_of(spec, images_per_class=number)
        assert torch.equal(rows, rows.unique()), "in the manifest's order, each once"
        counts = labels[rows].bincount(minlength=10)
        assert set(counts.tolist()) == {0, number}
        assert torch.equal(labels[rows].unique(), labels[whole].unique()), "no seen class is lost"
        assert torch.isin(before, rows).all() and torch.isin(rows, whole).all()
        before = rows


def test_more_images_than_there_are_is_all(spec):
    assert torch.equal(rows_of(spec, images_per_class=10_000), rows_of(spec))


def test_the_images_depend_on_the_seed_and_not_on_what_else_is_trained_on(spec):
    few = rows_of(spec, images_per_class=5)
    bound = training_rows(load_manifest("digits"), upper_bound(replace(spec, images_per_class=5)))
    assert len(bound) == 50 and torch.isin(few, bound).all(), "the upper bound adds the absent classes' images"
    labels = load_manifest("digits").labels
    other = rows_of(spec, seed=1, images_per_class=5)
    shared = labels[few].unique()[torch.isin(labels[few].unique(), labels[other].unique())]
    assert any(not torch.equal(few[labels[few] == c], other[labels[other] == c]) for c in shared)


@pytest.fixture(scope="module")
def cosine_root(tmp_path_factory):
    """A project folder with a run that has a cosine head, and the linear run beside it that came first."""
    root = make_root(tmp_path_factory.mktemp("cosine"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTC_ROOT", str(root))
        for head in ("linear", "cosine"):
            execute(plan("digits", "smoke", [0], head=head, epochs=2)[0], "cpu")
    return root


@pytest.fixture
def cosine(cosine_root, monkeypatch):
    monkeypatch.setenv("FTC_ROOT", str(cosine_root))
    return plan("digits", "smoke", [0], head="cosine", epochs=2)[0]


def test_the_outputs_of_a_cosine_head_are_scaled_cosines_from_epoch_0_on(cosine):
    head = files.read_tensors(paths.run_head(cosine.run_id, 0))
    linear = replace(cosine, head="linear")
    started = load_outputs(paths.run_outputs(linear.run_id, 0, "train"))
    trained_on = torch.isin(started.index, training_rows(load_manifest("digits"), cosine))
    scale = logit_scale(head["weight"], started.features[trained_on])
    assert files.read_tensors(paths.run_model(cosine.run_id))["head.scale"] == scale
    for epoch in (0, 1, 2):
        head = files.read_tensors(paths.run_head(cosine.run_id, epoch))
        assert not head["bias"].any()
        for part in ("train", "test"):
            outputs = load_outputs(paths.run_outputs(cosine.run_id, epoch, part))
            cosines = torch.nn.functional.cosine_similarity(outputs.features[:, None], head["weight"], dim=2)
            assert torch.allclose(outputs.logits, scale * cosines, rtol=0, atol=1e-9)
    own = load_outputs(paths.run_outputs(cosine.run_id, 0, "train"))
    assert torch.equal(own.features, started.features) and not torch.equal(own.logits, started.logits)


def test_the_networks_of_a_cosine_run_give_its_outputs(cosine):
    manifest = load_manifest("digits")
    normalize = normalizer(manifest.head.mean, manifest.head.std, torch.float64, torch.device("cpu"))
    for model, epoch in zip(load_before_after(cosine, "cpu"), (0, 2)):
        assert isinstance(model.get_classifier(), CosineHead)
        stored = load_outputs(paths.run_outputs(cosine.run_id, epoch, "test"))
        own = extract(model, load_images(manifest), manifest.labels, stored.index, normalize)
        assert torch.equal(own.logits, stored.logits)


def contents(run_id):
    return {
        str(path.relative_to(paths.run(run_id))): path.read_bytes()
        for path in paths.run(run_id).rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("stop_at", [3, 8, 13])
def test_a_cosine_run_resumes_to_the_same_bytes(cosine, cosine_root, tmp_path, monkeypatch, stop_at_write, stop_at):
    """In a folder of its own, where its scale is computed before a linear run has stored anything."""
    whole = contents(cosine.run_id)
    monkeypatch.setenv("FTC_ROOT", str(make_root(tmp_path)))
    paths.runs().mkdir()
    paths.run(cosine.init).symlink_to(cosine_root / "runs" / cosine.init)
    stop_at_write(stop_at)
    with pytest.raises(KeyboardInterrupt):
        execute(cosine, "cpu")
    stop_at_write(None)
    execute(cosine, "cpu")
    assert contents(cosine.run_id) == whole


@pytest.mark.parametrize("method", ["lp_ft", "bitfit", "swa", "wise"])
def test_methods_that_free_or_average_weights_leave_the_bias_and_the_scale(cosine, method):
    execute(run := replace(cosine, method=method), "cpu")
    own, plain = (files.read_tensors(paths.run_model(spec.run_id)) for spec in (run, cosine))
    assert not own["head.bias"].any() and own["head.scale"] == plain["head.scale"]
