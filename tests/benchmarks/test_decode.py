"""What happens to odd picture files: each row of the table in benchmarks/decode.py."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from analysis_lib.benchmarks import decode
from analysis_lib.benchmarks.decode import UnusablePicture, open_picture
from tests.benchmarks.own_images import encoded, picture

PLAIN = picture(0)
KINDS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")


def values(data):
    opened = open_picture(data)
    assert opened.mode == "RGB"
    return np.asarray(opened)


@pytest.mark.parametrize("kind", KINDS)
def test_ordinary_pictures_are_as_pillow_reads_them_whatever_their_names(kind, tmp_path):
    file = tmp_path / "wrong extension.txt"
    file.write_bytes(encoded(PLAIN, kind))
    with Image.open(file) as expected:
        assert np.array_equal(values(file), np.asarray(expected.convert("RGB")))
    assert np.array_equal(values(file.read_bytes()), values(file))


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr", "P"])
def test_other_colours_are_converted(mode):
    kind = "TIFF" if mode != "P" else "PNG"
    other = PLAIN.convert(mode)
    assert np.array_equal(values(encoded(other, kind)), np.asarray(other.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_scaled_and_not_clipped(kind):
    wide = np.random.default_rng(0).integers(0, 1 << 16, (16, 20), dtype=np.uint16)
    assert np.array_equal(values(encoded(Image.fromarray(wide), kind))[..., 1], wide // 256)


@pytest.mark.parametrize(("value", "mode"), [(1 << 20, "I"), (-1, "I"), (0.5, "F")])
def test_pixels_without_a_known_range_are_refused(value, mode):
    with pytest.raises(UnusablePicture, match="save it with 8 or 16 bits"):
        open_picture(encoded(Image.new(mode, (4, 4), value), "TIFF"))


def test_transparent_pictures_lie_on_white():
    layered = PLAIN.copy()
    layered.putalpha(255)
    assert np.array_equal(values(encoded(layered)), np.asarray(PLAIN)), "opaque pixels keep every bit"
    layered.putalpha(0)
    assert (values(encoded(layered)) == 255).all()
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.putpixel((0, 0), 0)
    shown = values(encoded(palette, transparency=bytes([0, 255])))
    assert shown[0, 0].tolist() == [255, 255, 255] and shown[1, 1].tolist() == [10, 20, 30]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation(kind):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    assert values(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))[0, 0].tolist() == [
        255,
        0,
        0,
    ]


@pytest.mark.parametrize(("tag", "turn"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_rotated_photographs_are_turned_upright(tag, turn):
    exif = Image.Exif()
    exif[0x0112] = tag
    assert np.array_equal(values(encoded(PLAIN, exif=exif)), np.rot90(np.asarray(PLAIN), turn))


def test_a_huge_picture_is_read_and_a_bomb_is_named(monkeypatch):
    data = encoded(Image.new("1", (30, 20)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    with pytest.warns(Image.DecompressionBombWarning):
        assert open_picture(data).size == (30, 20)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    with pytest.raises(UnusablePicture, match="a decompression bomb: more pixels"):
        open_picture(data)


def test_bombs_that_say_they_are_small_or_hide_in_a_note():
    data = encoded(PLAIN)
    head = struct.pack(">II", 60000, 60000) + data[24:29]
    with pytest.raises(UnusablePicture, match="a decompression bomb"):
        open_picture(data[:16] + head + struct.pack(">I", zlib.crc32(b"IHDR" + head)) + data[33:])
    note = PngImagePlugin.PngInfo()
    note.add_text("note", "a" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
    with pytest.raises(UnusablePicture, match="a decompression bomb: .*too large"):
        open_picture(encoded(PLAIN, pnginfo=note))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"no picture", "damaged or no image"),
        (encoded(PLAIN)[:-100], "truncated"),
        (encoded(PLAIN, "JPEG")[:-100], "truncated"),
        (encoded(PLAIN, "BMP")[:-100], "truncated"),
    ],
)
def test_what_is_no_whole_picture_says_why(data, reason):
    with pytest.raises(UnusablePicture, match=reason):
        open_picture(data)


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_picture(tmp_path / "none.png")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.sampled_from(KINDS), st.data())
def test_a_damaged_file_is_a_picture_or_the_one_error(kind, drawn):
    data = bytearray(encoded(PLAIN, kind))
    for place in drawn.draw(st.lists(st.integers(0, len(data) - 1), max_size=4)):
        data[place] = drawn.draw(st.integers(0, 255))
    try:
        assert open_picture(bytes(data[: drawn.draw(st.integers(0, len(data)))])).mode == "RGB"
    except UnusablePicture as error:
        assert str(error)


def test_every_reason_of_the_table_is_in_the_table():
    assert all(word in decode.__doc__ for word in ("CMYK", "white", "scaled", "first frame", "upright", "bomb"))


@pytest.mark.parametrize("size", [(1, 101), (202, 2)])
def test_a_strip_is_refused(size):
    strip = io.BytesIO()
    Image.new("RGB", size).save(strip, "PNG")
    with pytest.raises(UnusablePicture, match="more than 100 times as long as wide"):
        open_picture(strip.getvalue())
    fits = io.BytesIO()
    Image.new("RGB", (1, 100)).save(fits, "PNG")
    assert open_picture(fits.getvalue()).size == (1, 100)
