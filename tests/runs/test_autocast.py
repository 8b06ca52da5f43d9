"""Runs whose backbone computes in bfloat16."""

import copy
from dataclasses import replace

import pytest
import torch

from analysis_lib import UserError
from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.core import files, paths
from analysis_lib.models.backbone import backbone_in_bfloat16, features_and_logits
from analysis_lib.models.create import create_random_model
from analysis_lib.runs import execute, outputs, plan
from analysis_lib.training import loop
from tests.conftest import make_root

NAMES = ("digits_cnn", "glyphs_resnet", "glyphs_vit")
EPS = torch.finfo(torch.bfloat16).eps


def network(name):
    return create_random_model(name, 10, 0).float().eval()


def images(name):
    size = 32 if name.startswith("glyphs") else 16
    return torch.randn(8, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_features_are_those_of_float32_up_to_the_rounding_of_bfloat16(name):
    model, x = network(name), images(name)
    plain = model(x)
    backbone_in_bfloat16(model)
    features, logits = features_and_logits(model, x)
    assert features.dtype == logits.dtype == torch.float32
    assert 0 < (logits - plain).abs().max() < 10 * EPS * plain.abs().max()  # each of about ten layers rounds
    assert torch.equal(logits, model(x))
    assert not torch.equal(logits, logits.bfloat16().float()), "the head is computed in float32"


def test_a_copy_computes_with_its_own_weights():
    model, x = network("digits_cnn"), images("digits_cnn")
    backbone_in_bfloat16(model)
    before, other = model(x), copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert other(x).abs().max() == 0
    assert torch.equal(model(x), before)


def test_gradients_are_float32_and_close_to_those_of_float32():
    model, x = network("glyphs_resnet"), images("glyphs_resnet")
    found = []
    for _ in range(2):
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(x), torch.arange(8)).backward()
        found.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
        backbone_in_bfloat16(model)
    plain, half = found
    assert half.dtype == torch.float32
    assert 0 < (half - plain).norm() < 20 * EPS * plain.norm()


def test_float64_is_refused():
    with pytest.raises(UserError, match="autocast .* dtype is 'float64'; set dtype to 'float32'"):
        replace(small_spec(), dtype="float64", autocast=True)


def small_spec(**changes):
    (spec,) = plan.plan("digits", "smoke", [0], dtype="float32", epochs=2, **changes)
    return spec


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A project folder with a plain run of two epochs, and one under autocast."""
    root = make_root(tmp_path_factory.mktemp("autocast"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTC_ROOT", str(root))
        for autocast in (False, True):
            execute.execute(small_spec(autocast=autocast), "cpu")
    return root


@pytest.fixture
def opened(runs, monkeypatch):
    monkeypatch.setenv("FTC_ROOT", str(runs))


def stored(spec, epoch):
    return outputs.load_outputs(paths.run_outputs(spec.run_id, epoch, "test"))


@pytest.mark.parametrize("epoch", [0, 2])
def test_stored_outputs_are_float32_and_differ_from_the_plain_run(opened, epoch):
    plain, half = (stored(small_spec(autocast=autocast), epoch) for autocast in (False, True))
    assert half.features.dtype == half.logits.dtype == torch.float32
    assert not torch.equal(plain.logits, half.logits)
    if epoch == 0:  # the same network, so that neither run took the other's cached Outputs
        assert (plain.logits - half.logits).abs().max() < 10 * EPS * plain.logits.abs().max()


def test_both_runs_start_from_one_network_and_keep_float32_weights(opened):
    plain, half = (small_spec(autocast=autocast) for autocast in (False, True))
    assert plain.init == half.init
    assert plain.run_id != half.run_id
    for spec in (plain, half):
        weights = files.read_tensors(paths.run_model(spec.run_id))
        assert {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()} == {torch.float32}


def test_a_plain_run_is_extracted_in_float32(opened):
    spec, manifest = small_spec(), load_manifest("digits")
    _, model = execute.load_before_after(spec, "cpu")
    head, kept = manifest.head, stored(spec, 2)
    normalize = execute.normalizer(head.mean, head.std, torch.float32, torch.device("cpu"))
    again = outputs.extract(model, load_images(manifest), manifest.labels, kept.index, normalize)
    assert torch.equal(again.logits, kept.logits)


def test_an_interrupted_run_ends_with_the_same_bytes(opened, project, runs, monkeypatch):
    spec = small_spec(autocast=True)
    paths.runs().mkdir()
    paths.run(spec.init).symlink_to(runs / "runs" / spec.init)

    def stopped(*arguments):
        if arguments[-1] == 2:
            raise KeyboardInterrupt
        return train_epoch(*arguments)

    train_epoch = loop.train_epoch
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_epoch", stopped)
        with pytest.raises(KeyboardInterrupt):
            execute.execute(spec, "cpu")
    execute.execute(spec, "cpu")
    resumed = sorted(path for path in paths.run(spec.run_id).rglob("*") if path.is_file())
    assert len(resumed) > 8
    for path in resumed:
        assert path.read_bytes() == (runs / path.relative_to(project)).read_bytes(), path
