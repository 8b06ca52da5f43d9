"""Large users in small: logits that are worked through in parts, and classes named in any script."""

import base64
import html
import json
import re
import sys
import unicodedata
from pathlib import Path

import pytest
import torch

from analysis_lib import ClassSplit, accuracies, seen_absent_curve, shift_logits
from analysis_lib.analysis import chunks
from analysis_lib.analysis.metrics.confusion import seen_confusions
from analysis_lib.deploy.calibrate import assess, assess_seen, calibrate_logits
from tests.deploy.newcomer import main

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def load(monkeypatch):
    """The module bench/load.py."""
    monkeypatch.syspath_prepend(str(BENCH))
    import load

    return load


def plain_gammas(logits, labels, split):
    """gamma by ALG and by the largest-logit gap, from float64 copies of everything."""
    z, absent = logits.double(), list(split.absent)
    wrong = torch.ones_like(z, dtype=torch.bool).scatter(1, labels[:, None], False)
    wrong[:, absent] = False
    alg = z[wrong].mean() - z[:, absent].mean()
    largest = z.masked_fill(~wrong, -torch.inf).amax(1) - z[:, absent].amax(1)
    return {"alg": alg.item(), "max_gap": largest.mean().item()}


@pytest.mark.parametrize("rows", [1, 7, 64, 4096])
def test_parts_of_any_size_give_the_numbers_of_the_whole(rows, random, monkeypatch):
    monkeypatch.setattr(chunks, "ROWS", rows)
    split, n = ClassSplit(11, [0, 2, 3, 7, 9]), 65
    logits, before = torch.randn(2, n, 11, generator=random)
    labels = torch.tensor(split.seen)[torch.randint(5, (n,), generator=random)]
    logits[torch.arange(n), labels] += 1
    for method, gamma in plain_gammas(logits, labels, split).items():
        found = calibrate_logits(logits, labels, split.seen, method)
        assert found.gamma == pytest.approx(gamma, rel=1e-12, abs=1e-14), "64 bits, summed in another order"
        own = found.report["fine_tuning_data"]
        for when, shifted in (("before", logits), ("after", shift_logits(logits, split, found.gamma))):
            absent = ~torch.isin(shifted.argmax(1), torch.tensor(split.seen))
            assert own[when]["acc_sy"] == accuracies(shifted, labels, split)["acc_sy"]
            assert own[when]["predicted_absent"] == pytest.approx(absent.double().mean().item(), abs=1e-15)

    everyone = torch.randint(11, (n,), generator=random)
    found = assess(logits, everyone, split, 0.8)
    shifted = shift_logits(logits, split, 0.8)
    assert found["after"] == accuracies(shifted, everyone, split)
    assert found["ausuc"] == seen_absent_curve(logits, everyone, split).ausuc
    for when, scores in (("before", logits), ("after", shifted)):
        taken = [[row["absent"], row["seen"], row[when]] for row in found["seen_confusions"] if row[when]]
        assert sorted(taken) == seen_confusions(scores, everyone, split).tolist()
    held_out = assess_seen(logits, labels, split, 0.8, before)
    for when, scores in (("before", logits), ("after", shifted), ("pretrained", before)):
        whole = accuracies(scores, labels, split)
        assert held_out[when] == {name: whole[name] for name in ("acc_ss", "acc_sy")}


def test_stand_ins_do_not_depend_on_the_parts(random, monkeypatch):
    split = ClassSplit(11, range(5))
    logits, before, target = torch.randn(3, 65, 11, generator=random)
    labels = torch.randint(5, (65,), generator=random)
    given = {"pretrained_logits": before, "absent_share": 0.3}
    for method, more in {"stand_in": {}, "matched_stand_in": {"unlabelled_logits": target}}.items():
        whole = calibrate_logits(logits, labels, split.seen, method, **given, **more).report
        with monkeypatch.context() as patch:
            patch.setattr(chunks, "ROWS", 7)
            assert calibrate_logits(logits, labels, split.seen, method, **given, **more).report == whole


def test_mapped_logits_take_no_memory_that_grows_with_them(load, tmp_path):
    peaks = []
    for n in (8_000, 64_000):
        load.write_logits(tmp_path, str(n), n, 1_000, 500)
        files = [str(tmp_path / f"{n}.npy"), str(tmp_path / f"{n}_labels.npy")]
        peaks.append(load.measured([sys.executable, "-c", load.IN_PYTHON, *files])[2])
    assert peaks[1] - peaks[0] < 112, "in MB: no copy of the 224 MB more, not even in half precision"


def test_memory_is_measured_and_a_step_that_fails_is_told(load):
    kept = "kept = bytearray(b'x') * 300_000_000; import time; time.sleep(0.3)"
    _, peak, anonymous = load.measured([sys.executable, "-c", kept])
    assert 300 <= anonymous <= peak < 400
    with pytest.raises(SystemExit, match="ended with 3:\nno images"):
        load.measured([sys.executable, "-c", "print('no images'); raise SystemExit(3)"])


@pytest.mark.parametrize(("limit", "code"), [(8_000, 0), (1, 1)])
def test_the_table_of_loads_is_a_csv_and_a_peak_over_the_limit_an_error(load, tmp_path, monkeypatch, limit, code):
    def steps(folder, n, classes):
        yield "start, and end", f"{n:,} x {classes:,}", [sys.executable, "-c", "import time; time.sleep(0.2)"]

    monkeypatch.setattr(load, "STEPS", {"logits": steps})
    monkeypatch.setattr(load, "LIMIT", limit)
    monkeypatch.setenv("FTC_ROOT", "")
    monkeypatch.setattr(sys, "argv", ["load.py", "--scale", "0.5", "--output", str(tmp_path / "load.csv")])
    assert load.main() == code
    header, row = (tmp_path / "load.csv").read_text().splitlines()
    assert header == "what,size,seconds,peak_mb,anonymous_mb,limit_mb"
    assert re.fullmatch(rf'"start, and end","500,000 x 1,000",[\d.]+,\d+,\d+,{limit}', row)


@pytest.fixture
def named(load, project):
    """A project folder with pictures of 36 classes, named in many scripts, and a network for them."""
    load.write_images(project, 72, 36)
    return project


def calibrate(folder, *more):
    network = ["--model", "test_resnet", "--checkpoint", folder / "network.safetensors", "--image-size", 16]
    where = ["--data", folder / "own", "--test", folder / "all", "--output", folder / "out.safetensors"]
    return main(["calibrate", *network, *where, *more])


def test_names_in_any_script_reach_the_manifest_the_report_and_the_page(load, named):
    names = sorted(load.class_names(36))
    decomposed = "".join(f"{unicodedata.normalize('NFD', name)}\n" for name in names[:18])
    (named / "seen.txt").write_text(decomposed, encoding="utf-8")
    assert decomposed != "".join(f"{name}\n" for name in names[:18]), "the list is composed otherwise"
    assert main(["manifest", "create", named / "all", "--name", "scripts", "--seen", named / "seen.txt"]) == 0
    assert main(["manifest", "show", "scripts"]) == 0
    head = json.loads((named / "data_manifests" / "scripts.json").read_text())
    assert head["class_names"] == names and head["seen"] == names[:18]

    assert calibrate(named, "--seen", named / "seen.txt", "--classes", named / "classes.txt") == 0
    report = json.loads((named / "out.json").read_text())
    assert report["class_names"] == names and report["seen"] == list(range(18))
    pictures = re.findall(r"svg\+xml;base64,([^\"]+)", (named / "out.html").read_text())
    drawn = html.unescape("".join(base64.b64decode(picture).decode() for picture in pictures))
    confused = {names[row["seen"]] for row in report["test"]["seen_confusions"]}
    assert any(name in drawn for name in confused)


@pytest.mark.parametrize("terminal", [True, False])
def test_long_steps_are_told_in_a_terminal_alone(load, tmp_path, capsys, monkeypatch, terminal):
    load.write_logits(tmp_path, "own", 20, 10, 5)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    own = ["--data", tmp_path / "own.safetensors", "--seen", "0,1,2,3,4", "--output", tmp_path / "out.json"]
    assert main(["calibrate", *own]) == 0
    told = "estimating gamma from 20 samples\ndrawing the page\n"
    assert capsys.readouterr().err == (told if terminal else "")


def test_names_that_only_look_the_same_are_refused(load, named, capsys):
    for name in ("caf\u00e9", "cafe\u0301"):
        (named / "all" / name).mkdir()
    (named / "two.txt").write_text("caf\u00e9\ncafe\u0301\n" + "".join(f"{c}\n" for c in range(34)), encoding="utf-8")
    capsys.readouterr()
    assert calibrate(named, "--seen", "0", "--classes", named / "two.txt") == 2
    assert re.fullmatch(
        r"error: two.txt has the classes 'caf\\xe9' and 'cafe\\u0301', which differ in accents' spelling alone; rename "
        r"one, or merge them\n",
        capsys.readouterr().err,
    )
    assert calibrate(named, "--seen", "0") == 2
    assert "all has the classes 'cafe\\u0301' and 'caf\\xe9'" in capsys.readouterr().err
    assert main(["manifest", "create", named / "all", "--name", "twice"]) == 2
    assert "differ in case or accents' spelling alone" in capsys.readouterr().err
    assert not list(named.glob("out.*")) and not (named / "data_manifests" / "twice.json").exists()
