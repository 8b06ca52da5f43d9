import json
import platform

import pandas as pd
import pytest

from analysis_lib import UserError
from analysis_lib.core import paths
from analysis_lib.report import __main__ as command
from analysis_lib.report import reference
from analysis_lib.report.reference import KEPT, PICTURES, Missing, Reference, keep

VERSIONS = {"torch": "2.13.0"}


@pytest.fixture
def finished(tmp_path):
    """A project folder with the results of a finished `make reproduce`, in miniature."""
    source = tmp_path / "source"
    for name in KEPT:
        path = source / "results" / "emoji" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("metric,mean,n\nacc_uy,0.123456789,3\n")
    for figure in PICTURES["emoji"].values():
        path = source / "figures" / "emoji" / f"{figure}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(figure.encode())
    settings = source / "executed" / "emoji" / "settings"
    settings.parent.mkdir(parents=True)
    settings.write_text("benchmark=emoji profile=default seeds=0,1 device=\n")
    for seed, threads in enumerate((2, 2)):
        path = source / "runs" / f"emoji-finetune-s{seed}-0" / "environment.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"device": "cpu", "threads": threads, "versions": VERSIONS}))
    return source


def test_results_are_kept_with_six_digits_and_what_they_were_made_on(finished, tmp_path):
    keep(tmp_path, "emoji", finished)
    kept = Reference(tmp_path, "emoji")
    assert (
        tmp_path / "docs" / "reference" / "emoji" / "claims.csv"
    ).read_text() == "metric,mean,n\nacc_uy,0.123457,3\n"
    assert all(kept.table(name)["n"].item() == 3 for name in KEPT)
    made = kept.made_on()
    assert (made["profile"], made["seeds"], made["threads"], made["versions"]) == ("default", "0,1", [2], VERSIONS)
    assert made["cores"] >= 1 and made["level"] and made["processor"] and made["date"].count("-") == 2
    assert platform.node() not in json.dumps(made)


def test_pictures_are_copied_under_their_names_on_the_pages(finished, tmp_path):
    keep(tmp_path, "emoji", finished)
    assert (tmp_path / "docs" / "seen_absent_curve.png").read_bytes() == b"05_curve"
    assert set(Reference(tmp_path, "emoji").made_on()["pictures"]) == set(PICTURES["emoji"])


def test_the_table_of_processors_is_kept_where_it_was_measured(finished, tmp_path):
    keep(tmp_path, "emoji", finished)
    with pytest.raises(Missing, match=r"processors.csv yet: it is made by `python bench/processors.py emoji"):
        Reference(tmp_path, "emoji").table("processors")
    path = finished / ".venv" / "processors" / "emoji.csv"
    path.parent.mkdir(parents=True)
    path.write_text("seed,metric,range\n0,acc_uy,0.01\n")
    keep(tmp_path, "emoji", finished)
    assert Reference(tmp_path, "emoji").table("processors")["range"].item() == 0.01


@pytest.mark.parametrize("lacking", ["results/emoji/claims.csv", "executed/emoji/settings"])
def test_unfinished_results_are_refused_before_anything_is_written(finished, tmp_path, lacking):
    (finished / lacking).unlink()
    with pytest.raises(UserError, match=f"there is no {lacking}; run `make reproduce BENCHMARK=emoji` first"):
        keep(tmp_path, "emoji", finished)
    assert not (tmp_path / "docs").exists()


def test_runs_of_different_versions_are_refused(finished):
    path = next((finished / "runs").glob("*/environment.json"))
    path.write_text(json.dumps({"device": "cpu", "threads": 1, "versions": {"torch": "2.14.0"}}))
    with pytest.raises(UserError, match="the runs of emoji were made with 2 sets of versions"):
        reference.environment(finished, "emoji")


def test_the_command_keeps_and_fills(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FTC_ROOT", str(tmp_path))
    (tmp_path / "README.md").write_text(
        "About <!-- value: verdicts verdict=holds benchmark=emoji --><!-- end --> claims.\n"
    )
    pd.DataFrame({"verdict": ["holds", "undecided"]}).to_csv(finished / "results" / "emoji" / "claims.csv", index=False)
    assert command.main(["emoji", "--results", str(finished)]) == 0
    assert capsys.readouterr().out == "filled README.md\n"
    assert "-->1<!-- end --> claims" in (tmp_path / "README.md").read_text()
    assert command.main(["digits"]) == 2
    assert capsys.readouterr().err.startswith("error: there is no executed/digits/settings; run `make reproduce")


def test_a_run_stands_beside_its_reference():
    frame = pd.DataFrame({"metric": ["acc_uy", "new"], "mean": [0.5, 0.1], "low": [0.4, 0.0], "high": [0.6, 0.2]})
    found = reference.beside_reference(frame, "digits", "01_accuracy_change", ["metric"])
    assert list(found.columns) == [
        "metric",
        "mean",
        "low",
        "high",
        "mean, reference",
        "low, reference",
        "high, reference",
    ]
    kept = Reference(paths.checkout(), "digits").table("01_accuracy_change").set_index("metric").loc["acc_uy"]
    assert found.loc[0, ["mean, reference", "high, reference"]].tolist() == kept[["mean", "high"]].tolist()
    assert found.loc[1, "mean"] == 0.1 and found["low, reference"].isna().tolist() == [False, True]
    assert reference.beside_reference(frame, "nobody", "01_accuracy_change", ["metric"]).equals(frame)
