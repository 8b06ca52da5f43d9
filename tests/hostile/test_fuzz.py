"""Readers of files on damaged ones that hypothesis makes: a value or a UserError of one line, and nothing written."""

import copy
import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis_lib import UserError
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.benchmarks.own_manifest import OwnData, create_manifest
from analysis_lib.benchmarks.user_images import open_source
from analysis_lib.core import external_files
from analysis_lib.runs import sweep as sweeps
from tests.hostile.test_doors import tree
from tests.hostile.workshop import SWEEP

BOUNDED = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.just("../outside"), st.just(10**4000)
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))
BYTES = st.binary(max_size=40)
STRAY = st.sampled_from([b"\0", b"\xff", b"\xef\xbb\xbf", b"\r\n", b'"', b",", b",,,", b"-1", b"1e999", b"NaN", b"../"])


def read(reader):
    """Call a reader in the project folder. Whatever it says is one line, and no file is another afterwards."""
    before = tree(Path.cwd().parent)
    try:
        reader()
    except UserError as error:
        assert str(error).isprintable() or "\n" not in str(error)
    assert tree(Path.cwd().parent) == before


@st.composite
def mutated(draw, whole):
    """JSON text of an object with one to three fields dropped, retyped, repeated, inserted or emptied."""
    changed, repeated = copy.deepcopy(whole), []
    for _ in range(draw(st.integers(1, 3))):
        place = changed
        while isinstance(place, dict) and place:
            name = draw(st.sampled_from(sorted(place)))
            deeper = place[name]
            if isinstance(deeper, dict) and deeper and draw(st.booleans()):
                place = deeper
                continue
            match draw(st.sampled_from(["drop", "retype", "repeat", "insert"])):
                case "drop":
                    del place[name]
                case "retype":
                    place[name] = draw(VALUES)
                case "repeat":
                    repeated.append((name, place[name]))
                case "insert":
                    place[draw(st.text(max_size=5))] = draw(VALUES)
            break
    text = json.dumps(changed, default=repr)
    for name, value in repeated:
        text = text[:-1] + f", {json.dumps(name)}: {json.dumps(value)}}}"
    return text


def damaged(whole):
    """Bytes with some replaced, and perhaps the end cut off."""
    place = st.tuples(st.integers(0, len(whole)), st.integers(0, 5), BYTES | STRAY)
    return st.tuples(st.lists(place, max_size=3), st.integers(0, len(whole))).map(lambda how: _apply(whole, *how))


def _apply(whole, replaced, end):
    for at, gone, new in replaced:
        whole = whole[:at] + new + whole[at + gone :]
    return whole[: end or None]


@BOUNDED
@given(st.data())
def test_a_mutated_manifest(project, data):
    path = Path("data_manifests/mine.json")
    whole = path.read_text()
    path.write_text(data.draw(mutated(json.loads(whole))))
    try:
        read(lambda: load_manifest("mine").class_split(0))
    finally:
        path.write_text(whole)


@BOUNDED
@given(st.data())
def test_a_mutated_sweep(project, data):
    Path("sweep.json").write_text(data.draw(mutated(SWEEP)))

    def resolved():
        sweep = sweeps.read_sweep(Path("sweep.json"))
        sweeps.specs_by_cell(sweep, sweep.benchmark, "default", sweep.seeds)

    read(resolved)


@BOUNDED
@given(st.data())
def test_a_damaged_list(project, data):
    Path("list.txt").write_bytes(data.draw(damaged(Path("seen.txt").read_bytes() + b"seen/ash/0.png ash\n")))
    read(lambda: open_source(Path("list.txt"), "train").labels(["ash"], 1))


@BOUNDED
@given(data=st.data())
def test_a_damaged_table(project, data):
    Path("damaged.csv").write_bytes(data.draw(damaged(Path("table.csv").read_bytes())))
    manifests = [Path(f"data_manifests/trees.{suffix}") for suffix in ("json", "csv")]

    def created():
        try:
            create_manifest(OwnData("trees", Path("damaged.csv")))
        finally:
            assert sum(path.exists() for path in manifests) in (0, 2), "half-written"
            for path in manifests:
                path.unlink(missing_ok=True)

    read(created)


@BOUNDED
@given(st.data())
def test_a_damaged_table_of_logits(project, data):
    Path("z.csv").write_bytes(data.draw(damaged(b"labels,logits_0,logits_1\n0,1.5,-2\n1,3e2,4\n")))
    read(lambda: external_files.read_logits(Path("z.csv")))


@BOUNDED
@given(BYTES | VALUES.map(lambda value: json.dumps({"x": value}).encode()), BYTES, st.integers(-8, 8))
def test_any_header_of_tensors(project, header, data, off):
    size = max(0, len(header) + off)
    Path("model.safetensors").write_bytes(struct.pack("<Q", size) + header + data)
    read(lambda: external_files.read_weights(Path("model.safetensors")))


@BOUNDED
@given(st.data())
def test_a_mutated_header_of_tensors(project, data):
    whole = {name: {"dtype": "F32", "shape": [2], "data_offsets": [8 * k, 8 * k + 8]} for k, name in enumerate("ab")}
    header = data.draw(mutated(whole | {"__metadata__": {"format": "pt"}})).encode()
    Path("model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    read(lambda: external_files.read_weights(Path("model.safetensors")))


@BOUNDED
@given(st.data())
def test_a_damaged_checkpoint(project, data):
    whole = (Path.cwd() / "model.pth").read_bytes()
    start = data.draw(st.sampled_from([0, len(whole) - 400]))
    part = data.draw(damaged(whole[start : start + 400]))
    Path("damaged.pth").write_bytes(whole[:start] + part + whole[start + 400 :])
    read(lambda: external_files.read_weights(Path("damaged.pth")))


@BOUNDED
@given(st.data())
def test_a_damaged_npy(project, data):
    file = io.BytesIO()
    np.save(file, np.zeros((2, 3), "float32"))
    with zipfile.ZipFile("z.npz", "w") as archive:
        archive.writestr("logits.npy", data.draw(damaged(file.getvalue())))
    read(lambda: external_files.read_unlabelled_logits(Path("z.npz")))


HEADERS = st.fixed_dictionaries(
    {
        "descr": st.sampled_from(["<f4", ">f8", "|O", "|V3", "<U9", "<M8[s]", "f99", ""]) | VALUES,
        "fortran_order": st.booleans() | VALUES,
        "shape": st.lists(st.integers(-2, 1 << 62), max_size=4).map(tuple) | VALUES,
    }
)


@BOUNDED
@given(HEADERS, st.binary(max_size=30), st.integers(1, 3))
def test_any_header_of_npy(project, header, data, version):
    written = (repr(header) + "\n").encode("utf-8", "surrogatepass")
    size = struct.pack("<H" if version == 1 else "<I", min(len(written), 65535))
    with zipfile.ZipFile("z.npz", "w") as archive:
        archive.writestr("logits.npy", b"\x93NUMPY" + bytes([version, 0]) + size + written + data)
    read(lambda: external_files.read_unlabelled_logits(Path("z.npz")))


@BOUNDED
@given(st.data())
def test_a_damaged_archive(project, data):
    whole = Path("logits.npz").read_bytes()
    Path("z.npz").write_bytes(data.draw(damaged(whole)))
    read(lambda: external_files.read_logits(Path("z.npz")))


def test_the_check_of_the_check(project):
    """What is neither a value nor a UserError, and what writes, is noticed."""
    with pytest.raises(ZeroDivisionError):
        read(lambda: 1 / 0)
    with pytest.raises(AssertionError):
        read(lambda: Path("new").write_text("x"))
