import math
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from analysis_lib import accuracies
from analysis_lib.analysis.gamma.estimators import ESTIMATORS, ORACLE
from analysis_lib.analysis.metrics.accuracy import top_k_accuracies
from analysis_lib.analysis.stats import summary
from analysis_lib.benchmarks import overview
from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.core import files, paths
from analysis_lib.runs import run_set
from analysis_lib.runs.outputs import Outputs
from analysis_lib.runs.run_set import BATCHNORM_ONLY, FINE_TUNED, PRE_TRAINED
from analysis_lib.studies import accuracy, calibration, uncertainty

REPOSITORY = Path(__file__).resolve().parents[2]
SMOKE = """
from analysis_lib.analysis.gamma.estimators import ESTIMATORS, ORACLE
from analysis_lib.analysis.stats import summary
from analysis_lib.core.files import write_table
from analysis_lib.studies import accuracy, calibration, open_study, uncertainty
runs = open_study("accuracy", "digits", "smoke", [0, 1], "cpu")
calibrated = calibration.calibrations(runs)
everything = calibration.summary(accuracy.metrics_by_checkpoint(runs), calibrated)
write_table(everything, "digits", "summary")
write_table(calibration.curves(runs), "digits", "curves")
write_table(accuracy.seen_confusions(runs), "digits", "seen_confusions")
print(summary.grid(summary.over_seeds(everything, ["checkpoint", "metric"]), ["metric"], "checkpoint").to_string())
print(summary.verdicts(uncertainty.calibration_intervals(runs, calibrated), ["checkpoint", "method", "metric"]))
"""


def smoke(root, threads):
    """The smoke study in a process of its own; what it prints."""
    environment = os.environ | {"FTC_ROOT": str(root), "OMP_NUM_THREADS": str(threads)}
    return subprocess.run(
        [sys.executable, "-c", SMOKE], cwd=REPOSITORY, env=environment, check=True, capture_output=True, text=True
    ).stdout


def results(root):
    return {path.name: path.read_bytes() for path in (root / "results").rglob("*.csv")}


def test_same_bytes_again_and_the_same_digits_with_two_threads(tmp_path):
    printed = {}
    for name, threads in (("first", 1), ("again", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data_manifests").symlink_to(REPOSITORY / "data_manifests")
        printed[name] = smoke(tmp_path / name, threads)
    assert printed["first"] == printed["again"] == printed["two"]
    assert len(results(tmp_path / "first")) == 3
    assert results(tmp_path / "first") == results(tmp_path / "again")


def test_the_phenomenon_shows_on_digits(digits):
    """Absent accuracy collapses, the order among absent classes survives above chance, a shift brings them back."""
    table = (
        calibration.calibrations(digits)
        .pivot(index=["seed", "checkpoint"], columns="method", values="acc_uy")
        .unstack()
    )
    assert (table["none"]["fine-tuned"] < table["none"]["pre-trained"] - 0.2).all()
    assert (table["gamma* (oracle)"]["fine-tuned"] > table["none"]["fine-tuned"] + 0.2).all()


def test_the_summary_holds_what_a_reader_needs(digits):
    everything = calibration.summary(accuracy.metrics_by_checkpoint(digits), calibration.calibrations(digits))
    needed = {
        "acc_yy",
        "acc_sy",
        "acc_uy",
        "acc_ss",
        "acc_uu",
        "top5_sy",
        "top5_uy",
        "ncm_acc_sy",
        "ncm_acc_uy",
        "p_absent_u",
        "ausuc",
        "alg: gamma",
        "pcv: gamma",
        "gamma* (oracle): gamma",
    }
    needed |= {f"{method}: acc_{key}" for method in ("alg", "pcv", "gamma* (oracle)") for key in ("sy", "uy", "yy")}
    for (_, checkpoint), rows in everything.groupby(["seed", "checkpoint"]):
        wanted = needed if checkpoint == FINE_TUNED else {name for name in needed if "pcv" not in name}
        assert wanted <= set(rows["metric"]) and rows["metric"].is_unique
    assert len(everything.groupby(["seed", "checkpoint"])) == 6
    assert summary.over_seeds(everything.dropna(), ["checkpoint", "metric"])["n"].eq(2).all()


def test_the_control_moves_no_weight_and_only_batchnorms_statistics(digits):
    spec = digits.specs[0]
    run, epoch = digits.checkpoints(spec)[BATCHNORM_ONLY]
    start = files.read_tensors(paths.run_model(spec.init))
    end = files.read_tensors(paths.run_model(run.run_id))
    moved = {name for name in start if not torch.equal(start[name], end[name])}
    assert moved and all("running" in name or "num_batches" in name for name in moved)
    before, after = digits.outputs(spec, 0, "test"), digits.outputs(run, epoch, "test")
    assert torch.equal(before.index, after.index) and not torch.equal(before.logits, after.logits)
    weight, bias = digits.head(run, epoch)
    assert torch.allclose(after.features @ weight.T + bias, after.logits)


def test_checkpoints_are_measured_alike(digits):
    by_epoch = accuracy.metrics_by_epoch(digits).set_index(["seed", "epoch", "metric"])["value"].sort_index()
    ends = accuracy.metrics_by_checkpoint(digits).set_index(["seed", "checkpoint", "metric"])["value"].sort_index()
    for spec in digits.specs:
        for checkpoint, epoch in ((PRE_TRAINED, 0), (FINE_TUNED, spec.epochs)):
            pd.testing.assert_series_equal(ends[spec.seed, checkpoint], by_epoch[spec.seed, epoch], check_names=False)


def test_tables_agree_with_the_outputs_they_come_from(digits):
    spec = digits.specs[1]
    test = digits.outputs(spec, 2, "test")
    direct = accuracies(test.logits, test.labels, digits.split(spec))
    rows = accuracy.metrics_by_epoch(digits).query(f"seed == {spec.seed} and epoch == 2").set_index("metric")
    assert {key: rows.loc[key, "value"] for key in direct} == direct
    top5 = top_k_accuracies(test.logits, test.labels, digits.split(spec))
    assert {key: rows.loc[key, "value"] for key in ("top5_yy", "top5_sy", "top5_uy")} == {
        key: value for key, value in top5.items() if not math.isnan(value)
    }, "the groups of five classes are left out"
    assert not {"top5_ss", "top5_uu"} & set(rows.index)
    n_seen = int(digits.split(spec).is_seen(test.labels).sum())
    assert rows.loc[["acc_sy", "acc_uy", "acc_yy"], "samples"].tolist() == [
        n_seen,
        len(test.labels) - n_seen,
        len(test.labels),
    ]


def test_seen_confusions_account_for_every_lost_sample(digits):
    stolen = accuracy.seen_confusions(digits)
    for spec in digits.specs:
        test = digits.outputs(spec, spec.epochs, "test")
        split = digits.split(spec)
        lost = int((~split.is_seen(test.labels) & split.is_seen(test.logits.argmax(1))).sum())
        rows = stolen[stolen["seed"] == spec.seed]
        assert rows["taken"].sum() == lost
        names = digits.manifest.class_names
        assert set(rows["seen"]) <= {names[c] for c in split.seen} and set(rows["absent"]) <= {
            names[c] for c in split.absent
        }
        assert (rows.groupby("absent")["taken"].sum() <= rows.groupby("absent")["of"].first()).all()


def test_overview_counts_every_image_once(digits):
    table = overview.overview(digits.manifest, [0, 1])
    assert table.groupby("seed")[["train", "test"]].sum().sum(axis=1).eq(1797).all()
    assert table.groupby("seed")["classes"].sum().eq(10).all()


def test_the_gallery_shows_training_images_of_the_named_classes(digits):
    rows, titles = overview.gallery(digits.manifest, 0, most=6)
    body = digits.manifest.body.iloc[rows]
    split = digits.manifest.class_split(0)
    assert (body["split"] == "train").all() and body["label"].is_unique and len(body) == 6
    assert titles == [f"{label} ({'seen' if label in split.seen else 'absent'})" for label in body["label"]]


def test_intervals_compare_with_the_model_as_it_came(digits):
    calibrated = calibration.calibrations(digits)
    table = uncertainty.calibration_intervals(digits, calibrated).set_index(["checkpoint", "method", "metric"])
    wide = calibrated.pivot(index="seed", columns=["checkpoint", "method"], values="acc_uy")
    expected = (wide[("fine-tuned", "alg")] - wide[("pre-trained", "none")]).mean()
    row = table.loc[("fine-tuned", "alg", "acc_uy")]
    assert row["mean"] == pytest.approx(expected) and row["low"] <= expected <= row["high"] and row["n_seeds"] == 2
    assert len(table) == 3 * (len(ESTIMATORS) + 2 + 3), "of the pre-trained network two, of the control three"


def test_methods_cover_the_oracle_and_share_its_gain(digits):
    calibrated = calibration.calibrations(digits).query("checkpoint == 'fine-tuned'")
    assert calibrated.groupby("seed")["method"].apply(lambda names: list(names) == list(ESTIMATORS)).all()
    by_method = calibrated.set_index(["seed", "method"])
    assert (by_method.xs("none", level="method")["share"] == 0).all() and (
        by_method.xs(ORACLE, level="method")["share"] == 1
    ).all()
    assert (calibrated["share"] <= 1).all()


def test_reported_means_are_over_seeds(digits):
    by_epoch = accuracy.metrics_by_epoch(digits)
    means = summary.over_seeds(by_epoch, ["metric", "epoch"])
    row = means.query("metric == 'ausuc' and epoch == 4").iloc[0]
    curves = [digits.curve(spec, 4).ausuc for spec in digits.specs]
    assert (row["mean"], row["std"]) == pytest.approx((sum(curves) / 2, torch.tensor(curves).std().item()))
    assert isinstance(means, pd.DataFrame) and not paths.table("digits", "summary").exists()


def test_units_are_the_groups_of_the_manifest():
    """Variants of a drawing share a number, and nothing else does."""
    manifest = load_manifest("emoji")
    index = torch.randperm(len(manifest.body), generator=torch.Generator().manual_seed(0))[:300]
    units = run_set.RunSet(manifest, ()).clusters(Outputs(index, index, index, index)).tolist()
    groups = [manifest.body["group"][i] for i in index.tolist()]
    assert len(set(units)) == len(set(groups)) == len(set(zip(units, groups))) < 300


def test_prepared_images_are_the_pictures_in_the_runs_float_type(digits):
    spec, index = digits.specs[0], torch.tensor([5, 0, 7])
    prepared = digits.prepared(spec, index, torch.device("cpu"))
    head = digits.manifest.head
    expected = [
        (load_images(digits.manifest)[i].double() / 255 - torch.tensor(head.mean)[:, None, None].double())
        / torch.tensor(head.std)[:, None, None].double()
        for i in (7, 5)
    ]
    assert len(prepared) == 3 and prepared[torch.tensor([2, 0])].dtype == torch.float64
    assert torch.allclose(prepared[torch.tensor([2, 0])], torch.stack(expected), rtol=0, atol=1e-6)
