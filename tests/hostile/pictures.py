"""Image folders that hold no pictures, odd pictures, or worse."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tests.benchmarks.own_images import encoded, picture
from tests.hostile.row import Row, both, folder_at, link, nothing, raw, remove

CALIBRATE = (
    "calibrate --model test_resnet --checkpoint model.pth --classes names.txt --image-size 16 --seen ash,birch "
    "--output out/new.safetensors --data seen"
)
CREATE = "manifest create pictures --name trees"
VICTIM, MADE = "seen/ash/0.png", "pictures/ash/0.png"


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *others):
    """A PNG whose header states a size, with an empty image and other chunks."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(others) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


BOMB = png(60_000, 60_000)
NOTES = png(4, 4, chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(200_000_000), 1)))
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) (w) file\n%%EOF\n"


def pictured(title, content, *words):
    """Two rows for a picture that cannot be used: among the fine-tuning data, and in a new manifest."""
    return [
        Row(f"{title}, to calibrate", raw(VICTIM, content), CALIBRATE, (VICTIM, *words, "restore or remove")),
        Row(f"{title}, in a manifest", raw(MADE, content), CREATE, (MADE, *words, "restore or remove")),
    ]


def fifo(path):
    """A named pipe in place of a file: whoever opens it waits for ever."""
    return both(remove(path), lambda: os.mkfifo(path))


def emptied(path):
    return both(remove(path), folder_at(path))


def named(name):
    """One more picture under another name."""
    return lambda: Path("pictures/ash", name).write_bytes(encoded(picture(99)))


def surrogate():
    Path(os.fsdecode(b"pictures/ash/\xff.png")).write_bytes(encoded(picture(99)))


WIDE = encoded(Image.fromarray(np.full((16, 20), 40_000, np.uint16)))
FRAMES = [Image.new("RGB", (20, 16), colour) for colour in ("red", "lime")]
ANIMATED = encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:])

ROWS = [
    *pictured("a picture of 0 bytes", b"", "the file is empty"),
    *pictured("a text as picture", b"no picture\n", "damaged or no image"),
    *pictured("a cut picture", encoded(picture(3))[:200], "truncated"),
    *pictured("a JPEG that is cut in its header", encoded(picture(3), "JPEG")[:90], ""),
    *pictured("a picture of 3,600 million pixels", BOMB, "decompression bomb"),
    *pictured("a picture with 200 MB of notes", NOTES, "decompression bomb"),
    *pictured("a picture 30,000 wide and 1 high", png(30_000, 1), "times as long as wide"),
    *pictured("a picture of no width", png(0, 4), ""),
    *pictured("a drawing in SVG", SVG, "damaged or no image"),
    *pictured("a program in PostScript", POSTSCRIPT, "a program and no picture"),
    *pictured("floating-point pixels", encoded(Image.new("F", (8, 8)), "TIFF"), "8 or 16 bits"),
    *pictured("a zip file as picture", b"PK\x05\x06" + bytes(18), "damaged or no image"),
    Row("a pipe as picture, to calibrate", fifo(VICTIM), CALIBRATE, ("seen/ash/0.png",)),
    Row("a pipe as picture, in a manifest", fifo(MADE), CREATE, ("pictures/ash/0.png",)),
    Row("a pipe as picture of a manifest", fifo(MADE), "data mine", ("ash/0.png",)),
    Row("a pipe as picture, verified", fifo(MADE), "manifest verify mine", ("1 of 12 images",)),
    Row("a picture that is a link out", link(VICTIM, "../../../outside/secret.png"), CALIBRATE, (VICTIM, "lead out")),
    Row(
        "a class that is a link out", both(remove("seen/ash"), link("seen/ash", "../../outside")), CALIBRATE, ("lead",)
    ),
    Row("a picture that is a broken link", link(VICTIM, "nowhere.png"), CALIBRATE, (VICTIM,)),
    Row("a picture that is a link to itself", link(VICTIM, "0.png"), CALIBRATE, (VICTIM,)),
    Row("no folder", nothing, CALIBRATE + "ling", ("seenling", "give a folder")),
    Row("an empty folder", emptied("seen"), CALIBRATE, ("seen has no images",)),
    Row(
        "folders without pictures", both(emptied("seen/ash"), emptied("seen/birch")), CALIBRATE, ("seen has no images",)
    ),
    Row("an empty folder for a manifest", emptied("pictures"), CREATE, ("pictures", "no images")),
    Row("a class without pictures", emptied("pictures/ash"), CREATE, ("ash", "no image")),
    Row("one class only", both(remove("pictures/ash"), remove("pictures/birch")), CREATE, ("1 class", "absent class")),
    Row("a class that the names lack", lambda: os.rename("seen/ash", "seen/oak"), CALIBRATE, ("'oak'", "seen")),
    Row(
        "an absent class among the data",
        lambda: os.rename("seen/ash", "seen/cedar"),
        CALIBRATE,
        ("not among the seen",),
    ),
    Row(
        "a class twice but for its case",
        lambda: os.rename("pictures/birch", "pictures/Ash"),
        CREATE,
        ("'Ash'", "'ash'"),
    ),
    Row("a newline in a file name", named("a\nb.png"), CREATE, ("'ash/a\\nb.png'", "rename")),
    Row("bytes of no UTF-8 in a file name", surrogate, CREATE, ("\\udcff.png", "rename")),
    Row("an escape sequence in a file name", named("a\x1b[2Jb.png"), CREATE, ("\\x1b", "rename")),
    Row(
        "a newline in a class folder", lambda: os.rename("pictures/ash", "pictures/a\nsh"), CREATE, ("a\\nsh", "rename")
    ),
    Row("the data as its own test", nothing, f"{CREATE} --test pictures", ("listed twice", "each once")),
    Row("a name that climbs", nothing, "manifest create pictures --name ../trees", ("--name is '../trees'", "give")),
    Row(
        "a name that is taken", nothing, "manifest create pictures --name mine", ("mine.json", "choose another --name")
    ),
    Row("the name of a benchmark", nothing, "manifest create pictures --name emoji", ("emoji", "choose another")),
    Row("a pattern that is none", nothing, CREATE + " --group '('", ("--group", "regular expression")),
    Row("a test share of NaN", nothing, CREATE + " --test-share nan", ("--test-share", "between 0 and 1")),
    Row("a size of minus one", nothing, CREATE + " --image-size -1", ("--image-size", "positive")),
    Row("an unknown architecture", nothing, CREATE + " --model resnet5", ("resnet50", "nearest", "of 1")),
]

FINE = [
    Row("a picture in CMYK", raw(VICTIM, encoded(picture(3).convert("CMYK"), "JPEG")), CALIBRATE),
    Row("a picture of 16 bits", raw(VICTIM, WIDE), CALIBRATE),
    Row("an animated picture", raw(VICTIM, ANIMATED), CALIBRATE),
    Row("a picture with the wrong suffix", raw(VICTIM, encoded(picture(3), "JPEG")), CALIBRATE),
    Row("a picture in black and white", raw(VICTIM, encoded(picture(3).convert("1"))), CALIBRATE),
    Row("a picture of one pixel", raw(VICTIM, encoded(picture(3, size=(1, 1)))), CALIBRATE),
    Row("a folder named as a picture", folder_at("seen/ash/x.png"), CALIBRATE),
    Row("a file beside the class folders", raw("seen/notes.txt", b"x"), CALIBRATE),
    Row("a picture that is a link within", link(VICTIM, "1.png"), CALIBRATE),
    Row("a class folder in Chinese", lambda: os.rename("pictures/ash", "pictures/白蜡树"), CREATE),
]
