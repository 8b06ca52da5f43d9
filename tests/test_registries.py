"""A benchmark, an estimator, a fine-tuning method and a study are one entry each: a toy one of each, up to a table."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch

from analysis_lib import UserError
from analysis_lib.analysis.gamma.estimators import ESTIMATORS, Estimator
from analysis_lib.analysis.gamma.posthoc import BASELINES
from analysis_lib.analysis.metrics import METRICS
from analysis_lib.benchmarks import BENCHMARKS
from analysis_lib.benchmarks.benchmark import Benchmark
from analysis_lib.benchmarks.manifest import COLUMNS, Manifest, load_manifest, save_manifest
from analysis_lib.cli.manifest.rebuild import MADE_HERE
from analysis_lib.core import files, paths
from analysis_lib.methods import METHODS
from analysis_lib.methods.finetune import FineTune
from analysis_lib.runs.execute import execute, load_before_after, state
from analysis_lib.runs.plan import plan
from analysis_lib.runs.run_set import RunSet
from analysis_lib.studies import STUDIES, Study, accuracy, calibration, make_runs, open_study


def squares(manifest: Manifest) -> torch.Tensor:
    """Four classes: the corner in which a square is bright."""
    images = torch.zeros(len(manifest.body), 3, 16, 16, dtype=torch.uint8)
    for image, label in zip(images, manifest.labels.tolist()):
        top, left = 8 * (label // 2), 8 * (label % 2)
        image[:, top : top + 8, left : left + 8] = 200
    return images


def source() -> tuple[torch.Tensor, torch.Tensor]:
    """The same corners, less bright, to start from."""
    labels = torch.arange(4).repeat(40)
    body = pd.DataFrame({"label": labels, "split": "train"})
    return squares(Manifest(None, body, "")) // 2, labels


@pytest.fixture
def corners(project, monkeypatch):
    """A toy benchmark: one entry, and a manifest in the project's folder."""
    body = pd.DataFrame(
        [(f"{c}-{i}", c, "test" if i % 3 == 0 else "train", f"{c}-{i}", "") for c in range(4) for i in range(12)],
        columns=COLUMNS,
    )
    head = load_manifest("digits").head.model_dump(mode="json")
    head |= {"name": "corners", "builder": "corners", "class_names": ["a", "b", "c", "d"], "licences": []}
    save_manifest(head, body)
    monkeypatch.setitem(BENCHMARKS, "corners", Benchmark(squares, source_images=source))
    return "corners"


def test_a_toy_benchmark_runs_to_a_table(corners):
    runs = open_study("calibration", corners, "smoke", [0, 1], "cpu")
    table = calibration.calibrations(runs)
    assert set(table["seed"]) == {0, 1} and set(table["method"]) == set(ESTIMATORS) - {"pcv_thirds", "transported_cv"}
    by_epoch = accuracy.metrics_by_epoch(runs)
    files.write_table(by_epoch, corners, "toy")
    assert paths.table(corners, "toy").exists() and set(by_epoch["samples"]) == {8, 16}


def test_a_toy_estimator_runs_to_a_table(digits, monkeypatch):
    monkeypatch.setitem(ESTIMATORS, "seven", Estimator(lambda evidence: 7.0, "seven", "x"))
    rows = calibration.calibrations(digits).query("method == 'seven'")
    assert rows["gamma"].tolist() == [7.0, 7.0]
    spec = digits.specs[0]
    expected = digits.curve(spec, spec.epochs).at(7.0)
    assert rows["acc_uy"].iloc[0] == expected.acc_uy


@dataclass
class HeadOnly(FineTune):
    """Trains the head, `scale` times as steeply; counts its steps, and adds one to the head's bias at the end."""

    title = "head only"
    scale: float = 1.0

    def prepare(self, model, data):
        model.requires_grad_(False)
        model.get_classifier().requires_grad_(True)
        self.steps = 0

    def loss(self, model, x, labels):
        loss, logits = super().loss(model, x, labels)
        return self.scale * loss, logits

    def after_step(self, model, optimizer, step, steps):
        self.steps += 1

    def finish(self, model, data):
        with torch.no_grad():
            model.get_classifier().bias += self.steps


def test_a_toy_method_runs_to_a_table(corners, monkeypatch):
    monkeypatch.setitem(METHODS, "head_only", HeadOnly)
    changes = {"epochs": 2, "lr": 1e-2}
    (plain,) = plan(corners, "smoke", [0], **changes)
    one, two = (
        plan(corners, "smoke", [0], method="head_only", options=(("scale", s),), **changes)[0] for s in (1.0, 2.0)
    )
    assert len({plain.run_id, one.run_id, two.run_id}) == 3, "another method, or option, is another run"
    for spec in (one, two):
        execute(spec, "cpu")
        before, after = (model.state_dict() for model in load_before_after(spec, "cpu"))
        moved = {name for name in before if "blocks" in name and "running" not in name and "num_batches" not in name}
        assert moved and all(torch.equal(before[name], after[name]) for name in moved), "only the head trains"
        steps = json.loads(paths.run_metrics(spec.run_id).read_text().splitlines()[-1])["n"]
        assert steps == 16 and (after["head.bias"] - before["head.bias"]).mean() == pytest.approx(2, abs=0.05)
    ends = [files.read_tensors(paths.run_model(spec.run_id))["head.weight"] for spec in (one, two)]
    assert not torch.equal(*ends)
    table = accuracy.metrics_by_epoch(RunSet(load_manifest(corners), (one,), "cpu"))
    assert table["epoch"].unique().tolist() == [0, 1, 2]


def test_unknown_methods_and_options_are_refused_before_anything_is_written(corners):
    for changes, message in (
        ({"method": "finetun"}, r"unknown method 'finetun' \(did you mean 'finetune'\?\)"),
        ({"options": (("scale", 2.0),)}, "method 'finetune' does not take these options .*scale"),
    ):
        (spec,) = plan(corners, "smoke", [0], **changes)
        with pytest.raises(UserError, match=message):
            execute(spec, "cpu")
        assert not paths.run_checkpoint(spec.run_id).exists() and state(spec.run_id) != "done"


def test_a_toy_study_declares_its_runs_and_reading_never_trains(corners, monkeypatch):
    def longer(benchmark, profile, seeds):
        return plan(benchmark, profile, seeds, epochs=2)

    def shorter(runs, profile):
        return [replace(runs.specs[0], lr=1e-4)]

    monkeypatch.setitem(STUDIES, "toy", Study("longer?", longer, shorter))
    with pytest.raises(
        UserError, match="run corners-finetune-s0-.* is not finished; make it with `python -m analysis_lib run corners`"
    ):
        accuracy.metrics_by_epoch(RunSet(load_manifest(corners), tuple(longer(corners, "smoke", [0])), "cpu"))
    made = list(make_runs(["accuracy", "toy"], corners, "smoke", [0], "cpu"))
    assert [(spec.epochs, spec.lr) for spec in made] == [(1, 5e-3), (1, 0.0), (2, 5e-3), (1, 1e-4)]
    with pytest.raises(UserError, match=r"unknown study 'accurac' \(did you mean 'accuracy'\?\)"):
        list(make_runs(["accurac"], corners, "smoke", [0], "cpu"))


def test_entries_say_what_figures_and_tables_need():
    markers = [entry.marker for entry in (ESTIMATORS | BASELINES).values()]
    assert all(entry.title for entry in (ESTIMATORS | BASELINES).values()) and len(set(markers)) >= len(markers) - 1
    assert {name for name, entry in (ESTIMATORS | BASELINES).items() if entry.oracle} == {"gamma* (oracle)", "ncm"}
    trained = {name for name, entry in ESTIMATORS.items() if entry.extra_training}
    assert trained == {"pcv", "pcv_thirds", "transported_cv"}
    assert {metric.group for metric in METRICS.values()} == {"s", "u", "y"}
    assert all(METRICS[name].oracle == name.startswith(("ncm", "probe")) for name in METRICS if "acc" in name)
    assert np.all([study.question.endswith("?") for study in STUDIES.values()])


def test_every_manifest_that_is_made_here_has_an_action():
    assert set(MADE_HERE) == {name for name, known in BENCHMARKS.items() if known.make_manifest}
