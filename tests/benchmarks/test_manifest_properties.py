"""Properties of manifests: what is saved is read back, what is damaged is one error, and no split divides a group."""

import hashlib
import json
import string

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from analysis_lib import UserError
from analysis_lib.benchmarks.manifest import COLUMNS, Head, load_manifest, save_manifest
from analysis_lib.benchmarks.own_split import draw_split, merged_groups
from analysis_lib.core import paths

LIGHT = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ODD = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
CELL = st.one_of(ODD, st.sampled_from(["NA", "nan", "None", "null", "1", "1e5", "True", " a ", '"', "a,b", "'", "#"]))
SPLITS = ("train", "test", "source")
HEX = st.text("0123456789abcdef", min_size=64, max_size=64)


def head(**changes):
    known = json.loads(paths.manifest_head("digits").read_text())
    return known | {"name": "mine", "builder": "folder", "source": "x", "class_names": ["cat", "dog"]} | changes


@st.composite
def bodies(draw):
    """Bodies that keep the rules, of 2 to 8 rows."""
    names = draw(st.lists(CELL.filter(_stays_below), min_size=2, max_size=8, unique=True))
    rows = [
        (
            name,
            draw(st.integers(0, 1)),
            ("train", "test")[i] if i < 2 else draw(st.sampled_from(SPLITS)),
            name,
            draw(HEX),
        )
        for i, name in enumerate(names)
    ]
    body = pd.DataFrame(rows, columns=COLUMNS)
    for column in draw(st.sampled_from([(), ("date",), ("place",), ("date", "place")])):
        body[column] = pd.Series(draw(st.lists(st.none() | CELL, min_size=len(body), max_size=len(body))), dtype="str")
    return body


def _stays_below(name):
    return not name.startswith("/") and ".." not in name.split("/")


@settings(LIGHT, max_examples=25)
@given(bodies(), ODD, ODD, st.floats(0.01, 1) | st.sampled_from([["cat"], ["dog"]]), st.integers(1, 4096))
def test_whatever_is_saved_is_read_back_equal(project, body, title, source, seen, size):
    given_head = head(title=title, source=source, seen=seen, image_size=size)
    save_manifest(given_head, body)
    found = load_manifest("mine")
    pd.testing.assert_frame_equal(found.body, body, check_dtype=False)
    expected = Head.model_validate(given_head | {"sha256": found.head.sha256})
    assert found.head == expected
    before = {path: path.read_bytes() for path in (paths.manifest_head("mine"), paths.manifest_body("mine"))}
    save_manifest(found.head.model_dump(), found.body)
    assert before == {path: path.read_bytes() for path in before} and load_manifest("mine").digest == found.digest


@pytest.fixture
def saved(project):
    """The head and body files of a small manifest."""
    rows = [(f"{i} é.png", i % 2, "test" if i == 3 else "train", f"g{i}", f"{i}" * 64) for i in range(4)]
    save_manifest(head(), pd.DataFrame(rows, columns=COLUMNS).assign(date="2020-01-02", place="NA"))
    return paths.manifest_head("mine"), paths.manifest_body("mine")


TELLING = st.sampled_from([b",", b"\n", b'"', b"\r", b"-1", b"1e9", b"NaN", b"null", b"[]", b"{", b"../", b"True"])
DAMAGE = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 3), st.binary(max_size=6) | TELLING),
    min_size=1,
    max_size=4,
)


def damaged(data, damage):
    """The bytes with some replaced: (where, how many go, what comes)."""
    for where, gone, new in damage:
        at = int(where * len(data))
        data = data[:at] + new + data[at + gone :]
    return data


@LIGHT
@given(DAMAGE)
def test_any_other_byte_in_the_csv_is_a_user_error(saved, damage):
    _, body = saved
    whole = body.read_bytes()
    body.write_bytes(damaged(whole, damage))
    try:
        if body.read_bytes() != whole:
            with pytest.raises(UserError, match="does not match the sha256"):
                load_manifest("mine")
    finally:
        body.write_bytes(whole)


@LIGHT
@given(DAMAGE)
@example([(0.0, 0, b"\xff\xfe")])
@example([(0.0, 0, b'"')])
@example([(0.5, 0, b"\x00")])
def test_a_damaged_csv_whose_hash_was_renewed_is_a_user_error_or_keeps_the_rules(saved, damage):
    head_path, body_path = saved
    before = head_path.read_bytes(), body_path.read_bytes()
    data = damaged(before[1], damage)
    body_path.write_bytes(data)
    head_path.write_text(json.dumps(json.loads(before[0]) | {"sha256": hashlib.sha256(data).hexdigest()}))
    try:
        manifest = load_manifest("mine")
        assert set(manifest.labels.tolist()) <= {0, 1} and manifest.labels.dtype.is_signed
        assert len(manifest.rows("train")) and len(manifest.rows("test"))
    except UserError as error:
        assert "\n" not in str(error)
    finally:
        head_path.write_bytes(before[0])
        body_path.write_bytes(before[1])


@LIGHT
@given(DAMAGE)
def test_a_damaged_json_is_a_user_error_or_another_whole_head(saved, damage):
    path, _ = saved
    whole = path.read_bytes()
    path.write_bytes(damaged(whole, damage))
    try:
        manifest = load_manifest("mine")
        manifest.class_split(0)
    except UserError as error:
        assert "\n" not in str(error)
    finally:
        path.write_bytes(whole)


FIELDS = {
    "name": ["../mine", "", 3],
    "rows": ["../digits", "a/b", "\0"],
    "weights": ["../../secret", "", None],
    "backbone": ["/etc/passwd"],
    "image_size": [0, -1, 1.5, "large", None],
    "std": [[0, 1, 1], [float("nan")] * 3, [1, 1], "1"],
    "mean": [[float("inf"), 0, 0], None],
    "seen": [0, 2, -0.5, float("nan"), {}, [1]],
    "augmentation": [{"scale": [0, 1], "flip": True}, {"scale": [0.5, 2], "flip": True}, {}, None],
    "class_names": [None, [1], "ab", [["a"]]],
    "licences": [[{}], "MIT"],
}


@pytest.mark.parametrize(("field", "value"), [(name, value) for name, values in FIELDS.items() for value in values])
def test_a_field_that_cannot_be_is_named(saved, field, value):
    path, _ = saved
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(UserError, match=rf"data_manifests/mine.json: field '{field}"):
        load_manifest("mine")


def test_a_head_that_cannot_be_is_not_saved(project):
    body = pd.DataFrame([("a", 0, "train", "a", ""), ("b", 1, "test", "b", "")], columns=COLUMNS)
    with pytest.raises(UserError, match="mine: field 'image_size': Input should be greater than 0"):
        save_manifest(head(image_size=0), body)
    assert not paths.manifest_head("mine").exists() and not paths.manifest_body("mine").exists()


GROUPED = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=40)


@settings(LIGHT, max_examples=80)
@given(GROUPED, st.floats(0.01, 0.99))
def test_no_drawn_split_divides_a_group_or_a_picture(rows, share):
    names = [string.ascii_letters[group] for group, _, _ in rows]
    labels, pictures = [label for _, label, _ in rows], [str(picture) for _, _, picture in rows]
    groups = merged_groups(names, pictures)
    table = pd.DataFrame({"name": names, "label": labels, "picture": pictures, "group": groups})
    assert table.groupby("picture")["group"].nunique().max() == 1
    assert table.groupby("name")["group"].nunique().max() == 1
    table["split"] = draw_split(groups, labels, share, "mine")
    assert set(table["split"]) <= {"train", "test"}
    assert table.groupby("group")["split"].nunique().max() == 1
    assert table["split"].tolist() == draw_split(groups, labels, share, "mine"), "the same each time"


@settings(LIGHT, max_examples=60)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.floats(0.01, 0.99))
def test_each_class_with_several_groups_has_one_on_each_side(sizes, share):
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    table = pd.DataFrame({"label": labels, "group": [str(row) for row in range(len(labels))]})
    table["split"] = draw_split(table["group"], labels, share, "mine")
    for label, size in enumerate(sizes):
        test = int((table["split"][table["label"] == label] == "test").sum())
        assert abs(test - share * size) < 1 or test in (1, size - 1)
        assert (0 < test < size) if size > 1 else test == 0


@LIGHT
@given(st.permutations(range(12)))
def test_the_order_of_the_rows_has_no_say(order):
    groups, labels = [f"g{row // 2}" for row in range(12)], [row // 6 for row in range(12)]
    drawn = draw_split(groups, labels, 0.4, "mine")
    shuffled = draw_split([groups[row] for row in order], [labels[row] for row in order], 0.4, "mine")
    assert shuffled == [drawn[row] for row in order]
