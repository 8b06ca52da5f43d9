"""Ready logits and labels that are no numbers, of other shapes, or out of range."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import safetensors.numpy

from tests.hostile.row import Row, cut, nothing, raw
from tests.hostile.workshop import logits, save_logits

READY = "calibrate --data logits.npz --seen 0,1 --output out.json"
Z, LABELS = logits()


def arrays(title, z=None, labels=None, words=()):
    """A row for an `.npz` of other arrays."""
    return Row(f"logits {title}", lambda: save_logits("logits.npz", z, labels), READY, words)


def entry(content):
    """An `.npz` whose logits are these bytes."""

    def spoil():
        with zipfile.ZipFile("logits.npz", "w") as archive:
            archive.writestr("logits.npy", content)
            archive.writestr("labels.npy", npy(LABELS))

    return spoil


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npy_header(written, data=b""):
    """An npy file with this header."""
    written = written.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(written)) + written + data


def one(value):
    """The sound logits with one number changed."""
    changed = Z.copy()
    changed[3, 2] = value
    return changed


def masked():
    """Four classes, of which one absent class is impossible everywhere."""
    return np.column_stack([Z, np.full(len(Z), -np.inf, "float32")])


def tensors(z, labels=LABELS):
    return lambda: safetensors.numpy.save_file({"logits": z, "labels": labels}, "logits.safetensors")


def table(content):
    return raw("logits.csv", content)


TENSORS, TABLE = READY.replace(".npz", ".safetensors"), READY.replace(".npz", ".csv")
ROWS = [
    arrays("of integers", Z.astype("int64"), words=("int64", "expected floats")),
    arrays("of truth values", Z > 0, words=("expected floats",)),
    arrays("of texts", Z.astype("U4"), words=("number arrays",)),
    arrays("of bytes", Z.astype("S4"), words=("number arrays",)),
    arrays("of dates", np.zeros((12, 3), "M8[D]"), words=("number arrays",)),
    arrays("of records", np.zeros((12, 3), [("a", "f4")]), words=("number arrays",)),
    arrays("of complex numbers", Z.astype("complex64"), words=("complex", "expected floats")),
    arrays("of 128 bits", Z.astype("longdouble"), words=("number arrays",)),
    arrays("of objects", Z.astype(object), words=("number arrays",)),
    arrays("of one dimension", Z[:, 0], words=("(12,)", "expected floats")),
    arrays("of three dimensions", Z[..., None], words=("(12, 3, 1)",)),
    arrays("of no dimension", np.float32(1), words=("expected floats",)),
    arrays("of no rows", Z[:0], LABELS[:0], words=("0 samples",)),
    arrays("of no classes", Z[:, :0], words=("two classes",)),
    arrays("of one class", Z[:, :1], words=("two classes",)),
    arrays("with NaN", one(np.nan), words=("hold nan", "check the model")),
    arrays("with NaN everywhere", Z * np.nan, words=("hold nan",)),
    arrays("with infinity", one(np.inf), words=("hold inf", "check the model")),
    arrays("of 1e38", Z * 1e38, words=("up to 1e+30",)),
    arrays("of 1e300", Z.astype("float64") * 1e300, words=("up to 1e+30",)),
    arrays("with fewer labels", labels=LABELS[:5], words=("(5,)",)),
    arrays("with labels in columns", labels=LABELS[:, None], words=("(12, 1)",)),
    arrays("with labels as texts", labels=LABELS.astype("U4"), words=("number arrays",)),
    arrays("with labels as objects", labels=LABELS.astype(object), words=("number arrays",)),
    arrays("with complex labels", labels=LABELS.astype("complex64"), words=("whole numbers",)),
    arrays("with half labels", labels=LABELS + 0.5, words=("whole numbers",)),
    arrays("with NaN as labels", labels=LABELS * np.nan, words=("whole numbers",)),
    arrays("with infinite labels", labels=LABELS + np.inf, words=("whole numbers",)),
    arrays("with negative labels", labels=LABELS - 1, words=("label -1", "0..2", "fine-tuning data")),
    arrays("with labels too large", labels=LABELS + 7, words=("label 7", "0..2", "fine-tuning data")),
    arrays("with labels of 2**63", labels=(LABELS + 2.0**70), words=("label",)),
    arrays("with absent classes", labels=LABELS + 1, words=("class 2", "not among the seen", "drop these samples")),
    Row("logits with names of other classes", raw("few.txt", b"a\nb\n"), READY + " --classes few.txt", ("few.txt",)),
    Row("logits without labels", lambda: np.savez("logits.npz", logits=Z), READY, ("logits.npz", "'labels'")),
    Row("logits without logits", lambda: np.savez("logits.npz", z=Z), READY, ("logits.npz", "'logits'")),
    Row("logits that are empty", raw("logits.npz", b""), READY, ("logits.npz", "numpy.savez")),
    Row("logits that are cut off", cut("logits.npz"), READY, ("logits.npz", "numpy.savez")),
    Row("logits that are text", raw("logits.npz", b"0.1 0.2"), READY, ("logits.npz", "numpy.savez")),
    Row(
        "logits of a terabyte in words",
        entry(npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 3)}\n")),
        READY,
        ("logits.npz",),
    ),
    Row(
        "logits of a negative shape",
        entry(npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3)}\n", bytes(12))),
        READY,
        ("logits.npz",),
    ),
    Row("logits with a header of no Python", entry(npy_header("{'descr': '<f4', \n")), READY, ("logits.npz",)),
    Row(
        "logits with a header that calls",
        entry(npy_header("{'descr': '<f4', 'fortran_order': open('w', 'w'), 'shape': (1, 3)}\n")),
        READY,
        ("logits.npz",),
    ),
    Row(
        "logits with a header nested deeply", entry(npy_header("(" * 9000 + ")" * 9000 + "\n")), READY, ("logits.npz",)
    ),
    Row("logits that are an encrypted zip", lambda: encrypted(), READY, ("logits.npz",)),
    Row("tensors of integers", tensors(Z.astype("int32")), TENSORS, ("logits.safetensors", "expected floats")),
    Row("tensors with NaN", tensors(one(np.nan)), TENSORS, ("logits.safetensors", "hold nan")),
    Row("tensors of 1-D", tensors(Z[0]), TENSORS, ("logits.safetensors", "expected floats")),
    Row(
        "tensors without labels",
        lambda: safetensors.numpy.save_file({"logits": Z}, "logits.safetensors"),
        TENSORS,
        ("logits.safetensors", "'labels'"),
    ),
    Row("tensors that are cut off", lambda: [tensors(Z)(), cut("logits.safetensors")()], TENSORS, ("whole",)),
    Row("a table that is empty", table(b""), TABLE, ("logits.csv", "header")),
    Row("a table of a header alone", table(b"labels,logits_0,logits_1,logits_2\n"), TABLE, ("logits.csv", "0 samples")),
    Row("a table of other columns", table(b"label,a,b\n0,1,2\n"), TABLE, ("logits.csv", "logits_0")),
    Row("a table with a gap in its columns", table(b"labels,logits_0,logits_2\n0,1,2\n"), TABLE, ("logits_1",)),
    Row("a table of texts", table(b"labels,logits_0,logits_1\n0,a,b\n"), TABLE, ("logits.csv", "numbers")),
    Row(
        "a table with empty cells",
        table(b"labels,logits_0,logits_1,logits_2\n0,1,,3\n"),
        TABLE,
        ("logits.csv", "hold nan"),
    ),
    Row("a table in UTF-16", table("labels,logits_0\n0,1\n".encode("utf-16")), TABLE, ("logits.csv", "UTF-8")),
    Row(
        "a table with more cells",
        table(b"labels,logits_0,logits_1\n0,1,2,3,4\n1,2,3,4,5\n"),
        TABLE,
        ("logits.csv", "more cells"),
    ),
    Row("logits as .npy", lambda: np.save("logits.npy", Z), READY.replace(".npz", ".npy"), ("logits.npy",)),
    Row("logits as .pt", raw("logits.pt", b"x"), READY.replace(".npz", ".pt"), ("logits.pt",)),
    Row("logits that are not there", nothing, READY.replace("logits.npz", "z.npz"), ("z.npz", "check the path")),
    Row("logits and a checkpoint", nothing, READY + " --checkpoint model.pth", ("leave out",)),
    Row("logits and folds", nothing, READY + " --folds --epochs 1 --lr 1 --pretrained logits.npz", ("--folds",)),
    Row("logits without an output", nothing, READY.replace("out.json", "out.txt"), ("--output", ".json")),
    Row("an unknown estimator", nothing, READY + " --method algg", ("'algg'", "alg")),
    Row("an absent share of NaN", nothing, READY + " --absent-share nan", ("share",)),
    Row("an absent share above one", nothing, READY + " --absent-share 2", ("share",)),
    Row(
        "pre-trained logits of other samples",
        lambda: save_logits("other.npz", Z[:6], LABELS[:6]),
        READY + " --pretrained other.npz",
        ("other.npz", "same samples"),
    ),
    Row(
        "test logits of other classes",
        lambda: save_logits("other.npz", Z[:, :2]),
        READY + " --test other.npz",
        ("other.npz", "2 classes"),
    ),
    Row("test logits of one group", nothing, READY + " --test logits.npz", ("logits.npz", "no absent class")),
    Row(
        "test logits with NaN",
        lambda: save_logits("other.npz", one(np.nan), np.arange(12) % 3),
        READY + " --test other.npz",
        ("other.npz", "hold nan"),
    ),
    Row(
        "unlabelled logits with NaN",
        lambda: np.savez("other.npz", logits=one(np.nan)),
        READY + " --method matched_share --unlabelled other.npz",
        ("other.npz", "hold nan"),
    ),
]


def encrypted():
    """Set the bit of the zip file that says that its entries are encrypted."""
    content = bytearray(Path("logits.npz").read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(mark)
        while place >= 0:
            content[place + offset] |= 1
            place = content.find(mark, place + 4)
    Path("logits.npz").write_bytes(content)


FINE = [
    Row("logits in Fortran order", lambda: save_logits("logits.npz", np.asfortranarray(Z)), READY),
    Row("logits in big-endian order", lambda: save_logits("logits.npz", Z.astype(">f4")), READY),
    Row("logits of 16 bits", lambda: save_logits("logits.npz", Z.astype("float16")), READY),
    Row("logits of 64 bits", lambda: save_logits("logits.npz", Z.astype("float64")), READY),
    Row("labels as floats", lambda: save_logits("logits.npz", None, LABELS.astype("float32")), READY),
    Row("labels of 8 bits", lambda: save_logits("logits.npz", None, LABELS.astype("uint8")), READY),
    Row("logits with other arrays", lambda: save_logits("logits.npz", extra=np.array(["x"])), READY),
    Row("an absent class that is masked once", lambda: save_logits("logits.npz", masked()), READY),
    Row("logits that are all equal", lambda: save_logits("logits.npz", Z * 0), READY),
    Row("one sample", lambda: save_logits("logits.npz", Z[:1], LABELS[:1]), READY),
    Row("a table with a BOM", table("\ufefflabels,logits_0,logits_1,logits_2\n0,1,2,3\n1,3,2,1\n".encode()), TABLE),
    Row("a table with CRLF", table(b"labels,logits_0,logits_1,logits_2\r\n0,1,2,3\r\n1,3,2,1\r\n"), TABLE),
]
