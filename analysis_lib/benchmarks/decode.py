"""Open a picture file of any common format as 8-bit RGB: the one way in for users' images.

| file | outcome |
|---|---|
| wrong extension | read by its content |
| grey, palette, CMYK | converted to RGB |
| transparent | laid on white |
| 16 bits a channel | the high byte of each value: scaled, not clipped |
| animated, several pages | the first frame |
| rotated by its EXIF tag | turned upright |
| huge | read, up to twice Pillow's `MAX_IMAGE_PIXELS` (about 179 million pixels) |
| larger, or with huge compressed notes | refused as a decompression bomb |
| more than 100 times as long as wide | refused: resized to its shorter side it would fill the memory |
| PostScript | refused: it is a program, which Pillow would hand to Ghostscript |
| empty, truncated, damaged, no image, floating-point pixels | refused, with the reason |
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..core import external_files

LONGEST = 100  # the longer side, as a multiple of the shorter one
WIDE = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # Pillow's modes of grey pixels of more than 8 bits


class UnusablePicture(OSError):
    """Why a picture cannot be used, in a few words for a list of files: an OSError, as those of missing files."""


def open_picture(picture: Path | bytes) -> Image.Image:
    """The picture in a file, or in the bytes of one, as an 8-bit RGB image, upright, with nothing left to be read.

    Raises UnusablePicture for what the table above refuses, and OSError for a file that cannot be opened.
    """
    data = picture if isinstance(picture, bytes) else external_files.read_bytes(picture)
    if not data:
        raise UnusablePicture("the file is empty")
    loaded = _load(data)
    if loaded.mode in WIDE:
        loaded = _high_byte(loaded)
    if loaded.mode == "F":
        raise UnusablePicture("floating-point pixels have no known range; save it with 8 or 16 bits")
    if loaded.has_transparency_data:
        opaque = Image.new("RGBA", loaded.size, "white")
        opaque.alpha_composite(loaded.convert("RGBA"))
        loaded = opaque
    try:
        return loaded.convert("RGB")
    except ValueError as error:  # such as LAB colours
        raise UnusablePicture(str(error)) from None


def _load(data: bytes) -> Image.Image:
    """The first frame, decoded and upright, in the file's own mode."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            if opened.format == "EPS":
                raise UnusablePicture("PostScript is a program and no picture")
            if max(opened.size) > LONGEST * min(opened.size):
                raise UnusablePicture(f"more than {LONGEST} times as long as wide")
            opened.load()
            return ImageOps.exif_transpose(opened)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnusablePicture("a decompression bomb: more pixels than any picture should have") from None
    except Image.UnidentifiedImageError:
        raise UnusablePicture("damaged or no image") from None
    except MemoryError:
        raise UnusablePicture("there is not enough memory to decode it") from None
    except UnusablePicture:
        raise
    except Exception as error:  # noqa: BLE001 (damaged files make decoders raise anything)
        if "too large" in str(error):
            raise UnusablePicture(f"a decompression bomb: {error}") from None
        reason = str(error) if isinstance(error, OSError) and str(error) else "damaged or no image"
        raise UnusablePicture(reason) from None


def _high_byte(wide: Image.Image) -> Image.Image:
    """16-bit grey pixels as 8-bit ones. Raises UnusablePicture for values of more bits."""
    values = np.asarray(wide).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise UnusablePicture("pixels of more than 16 bits; save it with 8 or 16 bits")
    return Image.fromarray((values >> 8).astype(np.uint8))
