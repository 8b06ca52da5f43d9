"""Manifests that are damaged, that lie, or that lead elsewhere."""

import hashlib
import json
from pathlib import Path

from tests.hostile.row import Row, both, change, cut, folder_at, link, nothing, raw, remove, replace, text

HEAD, BODY = "data_manifests/mine.json", "data_manifests/mine.csv"
READ = "manifest show mine"


def body(old, new):
    """Replace text in the body, and state the new hash in the head, as someone would who means harm."""

    def spoil():
        replace(BODY, old.encode(), new.encode())()
        renewed()

    return spoil


def renewed():
    """The hash of the body as it is now, in the head."""
    change(HEAD, sha256=hashlib.sha256(Path(BODY).read_bytes()).hexdigest())()


def head(what, *words, **fields):
    """A row for a head with other fields."""
    return Row(f"a manifest with {what}", change(HEAD, **fields), READ, ("data_manifests/mine.json", *words))


def rows(title, old, new, *words):
    """A row for a body with other text, whose hash is right."""
    return Row(f"a manifest with {title}", body(old, new), READ, ("data_manifests/mine.csv", *words))


def without_a_field():
    whole = json.loads(Path(HEAD).read_text())
    del whole["mean"]
    Path(HEAD).write_text(json.dumps(whole))


def given_twice():
    Path(HEAD).write_text(Path(HEAD).read_text().replace('"title"', '"image_size": 9, "title"', 1))


def picture_elsewhere():
    """A picture that is a link out of the folder, with the hash that the manifest states."""
    Path("../outside/0.png").write_bytes(Path("pictures/ash/0.png").read_bytes())
    link("pictures/ash/0.png", "../../../outside/0.png")()


ROWS = [
    Row("no such manifest", nothing, "data ../mine", ("unknown benchmark '../mine'",)),
    Row("an absolute path as a benchmark", nothing, "data /etc/passwd", ("unknown benchmark '/etc/passwd'",)),
    Row("a benchmark without a name", nothing, "data ''", ("unknown benchmark ''",)),
    Row("a benchmark of NUL bytes", nothing, "run 'mi\x00ne'", ("unknown benchmark",)),
    Row("a manifest without its table", remove(BODY), READ, (BODY, "restore both")),
    Row("a manifest that is a folder", both(remove(HEAD), folder_at(HEAD)), READ, (HEAD, "is a folder")),
    Row("a manifest that is a broken link", both(remove(HEAD), link(HEAD, "nowhere.json")), READ, (HEAD, "restore")),
    Row("an empty manifest", text(HEAD, ""), READ, (HEAD, "JSON")),
    Row("a manifest that is cut off", cut(HEAD), READ, (HEAD, "JSON")),
    Row("a manifest that is no JSON", text(HEAD, "title: mine"), READ, (HEAD, "JSON")),
    Row("a manifest that is a list", text(HEAD, "[]"), READ, (HEAD, "object")),
    Row("a manifest that is null", text(HEAD, "null"), READ, (HEAD, "object")),
    Row("a manifest nested 100,000 deep", text(HEAD, "[" * 100_000), READ, (HEAD,)),
    Row("a manifest nested inside a field", text(HEAD, '{"title": ' * 5000 + "1" + "}" * 5000), READ, (HEAD,)),
    Row("a manifest of zeros", raw(HEAD, bytes(4096)), READ, (HEAD,)),
    Row("a manifest in UTF-16", raw(HEAD, '{"name": "mine"}'.encode("utf-16")), READ, (HEAD,)),
    Row("a manifest in Latin-1", raw(HEAD, '{"title": "Bäume"}'.encode("latin-1")), READ, (HEAD,)),
    Row("a manifest without a field", without_a_field, READ, (HEAD, "'mean'", "required")),
    Row("a manifest with a key twice", given_twice, READ, (HEAD, "'image_size'", "twice")),
    Row("a manifest of another name", change(HEAD, name="yours"), READ, (HEAD, "'yours'", "must be 'mine'")),
    Row("a manifest with the wrong digest", change(HEAD, sha256="0" * 64), READ, (BODY, "sha256", "restore")),
    Row("a manifest with a number as digest", change(HEAD, sha256=7), READ, (HEAD, "'sha256'")),
    Row("a manifest whose table is elsewhere", change(HEAD, rows="../../outside/x"), READ, (HEAD, "'rows'")),
    Row("a manifest of unknown weights", change(HEAD, weights="x"), "run mine", ("unknown weights 'x'",)),
    Row("a manifest of weights elsewhere", change(HEAD, weights="../x"), READ, (HEAD, "'weights'")),
    Row("a manifest without a network", change(HEAD, weights="none"), "run mine", ("names no network yet",)),
    Row("a manifest of an unknown builder", change(HEAD, builder="x"), "data mine", ("unknown builder 'x'",)),
    Row("a manifest of an unknown recipe", change(HEAD, recipe="x"), "run mine", ("unknown recipe", "'x'")),
    Row("a manifest of a folder that is not there", change(HEAD, source="nowhere"), "data mine", ("nowhere", "ash/0")),
    Row("a manifest to be verified without files", remove("pictures"), "manifest verify mine", ("pictures", "restore")),
    head("a source folder with a NUL", "'source'", source="a\0b"),
    head("an unknown field", "'colour'", colour="red"),
    head("the classes as one text", "'class_names'", class_names="ash"),
    head("no classes", "'class_names'", class_names=[]),
    head("one class only", "'class_names'", class_names=["ash"]),
    head("a class twice", "'class_names'", "twice", class_names=["ash", "ash", "cedar"]),
    head("an empty class name", "'class_names", class_names=["ash", "", "cedar"]),
    head("a newline in a class name", "'class_names", class_names=["ash", "bir\nch", "cedar"]),
    head("a control character in a class name", "'class_names", class_names=["ash", "bir\x1b[31mch", "cedar"]),
    head("a newline in its title", "'title'", title="Trees\nerror: all is well"),
    head("half a surrogate in a class name", "'class_names", class_names=["ash", "\ud800", "cedar"]),
    head("numbers as classes", "'class_names", class_names=[1, 2, 3]),
    head("class ids of another number", "2 class_ids for 3", class_ids=[1, 2]),
    head("negative class ids", "'class_ids", class_ids=[-1, 2, 3]),
    head("NaN as a mean", "'mean", mean=[float("nan"), 0, 0]),
    head("zero as a standard deviation", "'std", std=[0, 1, 1]),
    head("an infinite share", "'seen", seen=float("inf")),
    head("a seen class that is none", "'seen'", "'oak'", seen=["oak"]),
    head("a seen class twice", "'seen'", "each once", seen=["ash", "ash"]),
    head("all classes seen", "'seen'", "not all", seen=["ash", "birch", "cedar"]),
    head("no class seen", "'seen'", "some", seen=[]),
    head("images of no pixels", "'image_size'", image_size=0),
    head("images of a million pixels' side", "'image_size'", image_size=1_000_000),
    head("a text as size", "'image_size'", image_size="large"),
    head("a negative crop", "'augmentation.scale", augmentation={"scale": [-1, 1], "flip": True}),
    head("a crop from large to small", "'augmentation.scale", augmentation={"scale": [1, 0.5], "flip": True}),
    rows("a climbing path", "ash/0.png", "../outside/secret.png", "leaves the root"),
    rows("an absolute path", "ash/0.png", "/etc/passwd", "absolute"),
    rows("a negative label", "ash/0.png,0", "ash/0.png,-1", "label", "0..2"),
    rows("a label too large", "ash/0.png,0", "ash/0.png,3", "label", "0..2"),
    rows("half a label", "ash/0.png,0", "ash/0.png,0.5", "label"),
    rows("a text as label", "ash/0.png,0", "ash/0.png,ash", "label"),
    rows("a huge label", "ash/0.png,0", "ash/0.png,1e300", "label"),
    rows("a label of 400 digits", "ash/0.png,0", "ash/0.png," + "9" * 400, "label"),
    rows("an empty label", "ash/0.png,0", "ash/0.png,", "label"),
    rows("an empty path", "ash/0.png,", ",", "empty"),
    rows("a path twice", "ash/0.png", "ash/1.png", "twice"),
    rows("an unknown split", ",train,", ",training,", "train, test nor source"),
    rows("another header", "label", "class", "columns", "label"),
    rows("a column twice", "sha256", "path", "columns"),
    rows("more cells than columns", ",train,", ",train,,,", "no train row"),
    rows("an open quote", "ash/0.png", '"ash/0.png', "restore"),
    rows("a control character in a path", "ash/0.png", "ash/\x1b0.png", "control character"),
    rows("a NUL in a path", "ash/0", "a\0sh/0"),
    Row("an empty table", both(raw(BODY, b""), renewed), READ, (BODY, "restore")),
    Row("a table of a header alone", both(raw(BODY, b"path,label,split,group,sha256\n"), renewed), READ, (BODY, "row")),
    Row("a table in Latin-1", both(raw(BODY, "path,label\nä,1\n".encode("latin-1")), renewed), READ, (BODY, "restore")),
    Row("a table of zeros", both(raw(BODY, bytes(999)), renewed), READ, (BODY,)),
    Row("a picture of a manifest that is a link out", picture_elsewhere, "data mine", ("ash/0.png", "link")),
    Row("a picture of a manifest that is gone", remove("pictures/ash/0.png"), "data mine", ("ash/0.png", "restore")),
    Row("a picture of a manifest that changed", cut("pictures/ash/0.png"), "data mine", ("ash/0.png", "sha256")),
    Row("a picture that changed, verified", cut("pictures/ash/0.png"), "manifest verify mine", ("1 of 12", "restore")),
]
