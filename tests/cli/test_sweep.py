import json
import re

import pytest

from analysis_lib.cli import main
from analysis_lib.core import paths
from analysis_lib.runs import engines
from analysis_lib.runs.engines import Outcome, serial
from analysis_lib.runs.execute import state
from analysis_lib.runs.plan import plan

COMMON = ["--profile", "smoke", "--seeds", "0", "--device", "cpu", "--engine", "serial"]


@pytest.fixture
def sweep_file(project):
    """A sweep of four runs, of which one must fail."""
    content = {
        "title": "Short runs",
        "question": "Does the sweep go on?",
        "benchmark": "digits",
        "seeds": [0, 1],
        "runs": {"smoke": [{"lr": [0.01, 0.02], "epochs": 1}, {"method": ["vpt_deep", "finetune"], "epochs": 1}]},
    }
    path = project / "short.json"
    path.write_text(json.dumps(content))
    return path


def sweep(*arguments):
    return main(["sweep", *map(str, arguments)])


def test_the_list_counts_cells_and_makes_nothing(sweep_file, capsys, project):
    assert sweep(sweep_file, "--profile", "smoke", "--list") == 0
    assert capsys.readouterr().out.splitlines() == [
        "Short runs",
        "Does the sweep go on?",
        "  lr=0.01, epochs=1: 0 done, 0 partial, 2 missing",
        "  lr=0.02, epochs=1: 0 done, 0 partial, 2 missing",
        "  method=vpt_deep, epochs=1: 0 done, 0 partial, 2 missing",
        "  method=finetune, epochs=1: 0 done, 0 partial, 2 missing",
        "6 runs: 0 done, 0 partial, 6 missing; the time is known once a run is done",
    ]
    assert not paths.runs().exists()


def test_what_is_missing_is_made_and_what_failed_is_named(sweep_file, capsys):
    assert sweep(sweep_file, *COMMON) == 2
    out, err = capsys.readouterr()
    specs = plan("digits", "smoke", [0], lr=0.01, epochs=1) + plan("digits", "smoke", [0], lr=0.02, epochs=1)
    assert [state(spec.run_id) for spec in specs] == ["done", "done"]
    (wrong,) = plan("digits", "smoke", [0], method="vpt_deep", epochs=1)
    lines = out.splitlines()
    # the recipe's learning rate and method: one run with two names
    assert lines[6] == "3 runs: 0 done, 0 partial, 3 missing; the time is known once a run is done"
    assert lines[7].startswith(f"1/3 lr=0.01, epochs=1, seed=0 {specs[0].run_id}; ")
    assert lines[8].startswith(f"2/3 method=finetune, epochs=1, seed=0 {specs[1].run_id}; ")
    assert lines[9] == "2/3 method=vpt_deep, epochs=1, seed=0 failed; nothing left to make"
    reason = "VPT-deep is inserted into the blocks of a"
    assert lines[10].startswith(f"failed: method=vpt_deep, epochs=1, seed=0 ({wrong.run_id}): {reason}")
    assert len(lines) == 11
    assert err.splitlines()[-1].startswith(
        f"error: 1 of 3 runs failed and all others are done; the first, {wrong.run_id}, with: {reason}"
    )
    assert sweep(sweep_file, *COMMON, "--list") == 0
    assert "3 runs: 2 done, 1 partial, 0 missing" in capsys.readouterr().out


def test_an_error_that_is_no_users_mistake_is_named_with_its_type(sweep_file, capsys, monkeypatch):
    failing = lambda specs, settings: (Outcome(spec, RuntimeError("first\nsecond")) for spec in specs)
    monkeypatch.setitem(engines.ENGINES, "serial", failing)
    assert sweep(sweep_file, *COMMON) == 2
    captured = capsys.readouterr()
    assert captured.out.count("failed: ") == 3 and captured.out.count("RuntimeError: first\n") == 3
    assert re.search(r"error: 3 of 3 runs failed .* with: RuntimeError: first\n", captured.err)


def test_after_ctrl_c_the_same_command_continues(sweep_file, capsys, monkeypatch):
    real = serial.execute

    def interrupted(spec, device):
        if spec.lr == 0.02:
            raise KeyboardInterrupt
        return real(spec, device)

    monkeypatch.setattr(serial, "execute", interrupted)
    assert sweep(sweep_file, *COMMON) == 130
    assert "the same command continues" in capsys.readouterr().err
    monkeypatch.setattr(serial, "execute", real)
    assert sweep(sweep_file, *COMMON) == 2
    assert "3 runs: 1 done, 0 partial, 2 missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--engine", "rey"], r"unknown engine 'rey' \(did you mean 'ray'\?\); available: processes, ray, serial"),
        (["--address", "auto"], r"--address and --gpus-per-run are for Ray; add --engine ray, or leave them out"),
        (["--workers", "0"], r"the number of workers is 0; give 1 or more"),
        (["--threads", "0"], r"the number of threads is 0; give 1 or more"),
        (["--seeds", "0,x"], r"seeds is '0,x'; give integers separated by commas.*"),
        (["--profile", "full"], r"unknown profile of the sweep 'Short runs' 'full'; available: smoke"),
        (["--benchmark", "digts"], r"unknown benchmark 'digts' \(did you mean 'digits'\?\).*"),
        (["--device", "cuda:99"], r"device 'cuda:99' cannot be used here.*"),
    ],
)
def test_a_mistake_is_one_sentence_and_makes_nothing(sweep_file, capsys, arguments, sentence):
    assert sweep(sweep_file, "--profile", "smoke", *arguments) == 2
    captured = capsys.readouterr()
    assert re.fullmatch(rf"error: {sentence}\n", captured.err) and captured.out == ""
    assert not paths.runs().exists()
