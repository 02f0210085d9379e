"""Decodes the bytes of one still image."""

import io
import struct
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from PIL.ExifTags import Base
from PIL.TiffImagePlugin import TiffImageFile

from nerveceg_tf.data.formats import HEAD, describe_other, recognise
from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
from nerveceg_tf.data.stills.brightness import to_8_bits
from nerveceg_tf.data.stills.picture import Picture
from nerveceg_tf.data.stills.tiff_page import read_page
from nerveceg_tf.data.stills.tiff_tags import WHITE_IS_ZERO
from nerveceg_tf.errors import FrameError
from nerveceg_tf.size import format_size

MIN_SIDE = 16
MAX_SIDE = 8192

GIF = b"GIF8"
"""The first bytes of a GIF. Its frames are read as those of a video, but a mask as one picture."""

_STILLS = ("TIFF", "PNG", "JPEG", "BMP", "WEBP")
# A complete file ends with these bytes. libjpeg and libpng decode truncated files without an error.
_END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
# Parsing a PNG's metadata decodes its pixels, so it is parsed only if it may have an orientation.
_PNG_METADATA = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
_PNG_HEADER = slice(24, 26)  # bit depth and colour type
_UNREADABLE = "is truncated or not a TIFF, PNG, JPEG, BMP or WebP; copy it again, or remove it"
_TOO_LARGE = f"a frame has at most {MAX_SIDE}x{MAX_SIDE} pixels: crop or shrink it"
# CCITT's compressions of 1-bit TIFFs, JPEG and WebP, which Pillow undoes together with the colours.
_BY_PILLOW = (2, 3, 4, 7, 50001)
_LOSSY = (7, 50001)
_BITS = 258
# For gray and for colours: photometric interpretation (libtiff has converted YCbCr to the colours
# of this mode), fill order, samples per pixel and sample format.
_SIMPLE = {
    channels: ((262, (0, 1, 2, 6)), (266, (1,)), (277, (channels,)), (339, (1, (1,) * channels)))
    for channels in (1, 3)
}

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class _Tiff(TiffImageFile):
    """A TIFF without its EXIF tags, because parsing them takes as long as decoding the pixels."""

    def load_end(self) -> None:
        if self.tag_v2.get(Base.Orientation, 1) != 1:
            super().load_end()


def decode_still(
    content: bytes, path: Path | str, page: int = 0, options: ReadOptions = AS_DECLARED
) -> np.ndarray:
    """Decodes a TIFF, PNG, JPEG, BMP or WebP. The header is checked before the pixels are decoded.

    Args:
        content: the bytes of the file.
        path: the name for error messages: the path, and the frame number if there are several.
        page: page of a multi-page TIFF, from 0.
        options: how to read the file.

    Returns:
        uint8 gray `(height, width)`, 0..255, as `to_8_bits` scales it, upright.

    Raises:
        FrameError: the file is empty, truncated or of another format, its size is out of range, or
            its values have no known range.
    """
    return to_8_bits(decode_picture(content, path, page), path, options)


def decode_picture(content: bytes, path: Path | str, page: int = 0) -> Picture:
    """Decodes the samples of a still image as they are stored. The arguments are `decode_still`'s.

    Returns:
        The samples, upright.

    Raises:
        FrameError: the file is empty, truncated or of another format, or its size is out of range.
    """
    if not content:
        raise FrameError(f"{path}: the file is empty; copy it again")
    kind = "GIF" if content.startswith(GIF) else recognise(content[:16])
    if kind != "GIF" and kind not in _STILLS:
        other = describe_other(content[:HEAD])
        problem = f"is {other}, not a picture; copy it again, or remove it"
        raise FrameError(f"{path}: {problem if other else _UNREADABLE}")
    try:
        if kind == "TIFF":
            return _tiff(content, path, page)
        return _other(content, path, kind)
    except Image.DecompressionBombError:
        raise FrameError(f"{path}: {_TOO_LARGE}") from None
    except FrameError:
        raise
    except (
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        LookupError,
        OverflowError,
        EOFError,
        AttributeError,
        struct.error,
    ):
        raise FrameError(f"{path}: {_UNREADABLE}") from None


def _tiff(content: bytes, path: Path | str, page: int) -> Picture:
    if content[:4] != b"MM\0+":  # which Pillow cannot open
        try:
            image = _Tiff(io.BytesIO(content))
        except SyntaxError:
            pass  # a sample type that Pillow does not know
        else:
            with image:
                if page:
                    image.seek(page)
                check_size(image.size[::-1], path)
                compression = image.tag_v2.get(Base.Compression, 1)
                inverted = image.tag_v2.get(Base.PhotometricInterpretation) == WHITE_IS_ZERO
                if _is_simple(image):
                    image.load()
                    pixels, lossy = np.asarray(image), compression in _LOSSY
                    return Picture(pixels, lossy=lossy, white_is_zero=inverted)
                if compression in _BY_PILLOW:
                    image.load()
                    picture = _from_pillow(image, path)
                    return picture._replace(lossy=compression in _LOSSY, white_is_zero=inverted)
    return read_page(content, page, path, partial(check_size, path=path))


def _is_simple(image: TiffImageFile) -> bool:
    """Whether the page has 8-bit gray or colours without a sign, which Pillow reads rightly."""
    tags, channels = image.tag_v2, len(image.mode)
    if image.mode not in ("L", "RGB") or tags.get(_BITS) != (8,) * channels:
        return False
    return all(tag not in tags or tags[tag] in values for tag, values in _SIMPLE[channels])


def _other(content: bytes, path: Path | str, kind: str) -> Picture:
    with Image.open(io.BytesIO(content), formats=[kind]) as image:
        check_size(image.size[::-1], path)
        if (mark := _END_MARKS.get(kind)) and mark not in content[-4096:]:
            raise FrameError(f"{path}: {_UNREADABLE}")
        image.load()
        depth, colours = content[_PNG_HEADER] if kind == "PNG" else (8, 0)
        if depth == 16 and colours:
            picture = _deep_png(content)  # Pillow would return its upper 8 bits
        else:
            picture = _from_pillow(image, path, depth)
        if kind == "PNG":
            picture = picture._replace(white=_significant_white(content))
        lossy = kind == "JPEG" or (kind == "WEBP" and b"VP8L" not in content)
        has_metadata = kind != "PNG" or any(mark in content for mark in _PNG_METADATA)
        orientation = image.getexif().get(Base.Orientation, 1) if has_metadata else 1
    return picture._replace(lossy=lossy).upright(orientation)


def _from_pillow(image: Image.Image, path: Path | str, bits: int = 8) -> Picture:
    mode = image.mode
    if mode in ("CMYK", "YCbCr", "RGBX"):
        image = image.convert("RGB")
    elif mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B"):
        raise FrameError(f"{path}: has pixels of Pillow's mode {mode}; save it as 8-bit gray")
    pixels = np.asarray(image)
    if mode == "P":
        colours = np.frombuffer(bytes(image.getpalette("RGB") or ()), np.uint8).reshape(-1, 3)
        return Picture(pixels, palette=np.resize(colours, (256, 3)))
    if mode == "1":
        return Picture(pixels.astype(np.uint8), 1)
    if mode.startswith("I"):
        return Picture(pixels.astype(np.uint16), 16)
    if mode in ("LA", "RGBA"):
        colour = pixels[:, :, 0] if mode == "LA" else pixels[:, :, :3]
        return Picture(np.ascontiguousarray(colour), alpha=np.ascontiguousarray(pixels[:, :, -1]))
    if bits < 8:  # Pillow has spread the values over 0..255
        return Picture(pixels // np.uint8(255 // (2**bits - 1)), bits)
    return Picture(pixels)


def _deep_png(content: bytes) -> Picture:
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("OpenCV cannot decode it")
    if pixels.ndim == 2:
        return Picture(pixels, 16)
    alpha = np.ascontiguousarray(pixels[:, :, 3]) if pixels.shape[2] == 4 else None
    return Picture(np.ascontiguousarray(pixels[:, :, 2::-1]), 16, alpha=alpha)


def _significant_white(content: bytes) -> int | None:
    """Returns the largest value of the bits that a PNG declares to be significant."""
    at = content.find(b"sBIT", 0, content.find(b"IDAT"))
    if at < 0:
        return None
    length = int.from_bytes(content[at - 4 : at], "big")
    return 2 ** max(content[at + 4 : at + 4 + min(length, 4)]) - 1


def to_gray(pixels: np.ndarray, path: Path | str, rgb: bool = False) -> np.ndarray:
    """Converts pixels to 8-bit gray: 16-bit values are divided by 257, colours become luma.

    Args:
        pixels: uint8 or uint16, `(height, width)` or `(height, width, channels)`. An alpha channel
            (the second of two channels, the last of four) is ignored.
        path: the name for error messages.
        rgb: the channel order is red, green, blue. `False`: OpenCV's blue, green, red.

    Returns:
        uint8 gray `(height, width)`, 0..255.

    Raises:
        FrameError: the pixels are of another type.
    """
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif pixels.dtype != np.uint8:
        raise FrameError(f"{path}: has {pixels.dtype} pixels; save it with 8 or 16 bits")
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] >= 3:
        colours = np.ascontiguousarray(pixels[:, :, :3])
        return cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY if rgb else cv2.COLOR_BGR2GRAY)
    return np.ascontiguousarray(pixels[:, :, 0])


def check_size(size: tuple[int, int], path: Path | str) -> None:
    """Checks that the size of a frame is plausible for an ultrasound scanner.

    Args:
        size: height and width in pixels.
        path: the name for error messages.

    Raises:
        FrameError: a side is shorter than 16 or longer than 8192 pixels.
    """
    if max(size) > MAX_SIDE:
        raise FrameError(f"{path}: is {format_size(size)}; {_TOO_LARGE}")
    if min(size) < MIN_SIDE:
        raise FrameError(
            f"{path}: is {format_size(size)}; a frame has at least {MIN_SIDE}x{MIN_SIDE} pixels;"
            " remove it"
        )
