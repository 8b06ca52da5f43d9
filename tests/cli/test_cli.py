import re
from dataclasses import replace

import pytest

from analysis_lib.cli import main
from analysis_lib.core import files
from analysis_lib.runs import execute, plan
from analysis_lib.studies import gain_prediction, open_study


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "digts"], r"unknown benchmark 'digts' \(did you mean 'digits'\?\)"),
        (["run", "digits", "--profile", "smok"], r"unknown profile 'smok' \(did you mean 'smoke'\?\)"),
        (["run", "digits", "--seeds", "0,x"], r"seeds is '0,x'; give integers separated by commas"),
        (["run", "digits", "--profile", "smoke", "--device", "cuda:99"], r"device 'cuda:99' cannot be used here"),
        (["run", "digits", "--profile", "smoke", "--device", "gpu"], r"device 'gpu' cannot be used here"),
        (["data", "nothing"], r"unknown benchmark 'nothing'; available: digits, emoji"),
        (["notebook", "notebooks/99.ipynb"], r"there is no notebook .*99.ipynb"),
        (["report", "emoji"], r"there is no results/emoji/summary_mean.csv yet"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(project, capsys, arguments, sentence):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert re.fullmatch(rf"error: {sentence}[^\n]*\n", captured.err), captured.err
    assert captured.out == ""
    assert not [
        path for path in project.rglob("*") if "data_manifests" not in path.parts and path.name != "data_manifests"
    ]


def test_a_full_disk_during_a_run_is_one_sentence_and_the_run_goes_on_later(project, capsys, monkeypatch):
    real = files.os.replace

    def full(source, target):
        if "epoch_002" in str(target):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(files.os, "replace", full)
    assert main(["run", "digits", "--profile", "smoke", "--seeds", "0", "--device", "cpu"]) == 2
    assert "error: the disk is full: runs/digits-" in capsys.readouterr().err
    assert not list(project.rglob("*.tmp"))
    monkeypatch.setattr(files.os, "replace", real)
    assert main(["run", "digits", "--profile", "smoke", "--seeds", "0", "--device", "cpu"]) == 0
    (spec,) = plan.plan("digits", "smoke", [0])
    assert execute.state(spec.run_id) == "done"
    designed = replace(
        spec,
        seen=gain_prediction.dissimilar_seen(open_study("claims", "digits", "smoke", [0], "cpu")),
        record_every=spec.epochs,
    )
    assert execute.state(designed.run_id) == "done", "the run on dissimilar classes is one of them"


def test_interrupting_says_that_the_command_continues(project, capsys, monkeypatch):
    monkeypatch.setattr(execute, "execute", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["run", "digits"]) == 130
    assert "continues where it stopped" in capsys.readouterr().err


def test_help_names_every_verb(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"\n    {verb}" in text for verb in ("data", "run", "notebook", "calibrate", "report", "manifest"))


def test_data_describes_what_it_loaded(project, capsys):
    assert main(["data", "digits"]) == 0
    assert capsys.readouterr().out == (
        "digits: From printed to handwritten digits; 10 classes, 1201 training and 596 test images of 16x16 pixels\n"
    )
