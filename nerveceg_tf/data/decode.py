"""Decodes the bytes of one still image to 8-bit gray."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from PIL.ExifTags import Base
from PIL.TiffImagePlugin import TiffImageFile

from nerveceg_tf.errors import FrameError

MIN_SIDE = 16
MAX_SIDE = 8192

_BEGIN_MARKS = {
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\x89PNG": "PNG",
    b"\xff\xd8": "JPEG",
    b"BM": "BMP",
}
# A complete file ends with these bytes. libjpeg and libpng decode truncated files without an error.
_END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
# Pillow decodes TIFFs of these modes, because it detects damage where OpenCV returns garbage.
# OpenCV decodes the TIFFs of other modes.
_PILLOW_MODES = ("L", "LA", "RGB", "RGBA", "I;16", "I;16B")
_UNREADABLE = "is truncated or not a TIFF, PNG, JPEG or BMP; copy it again, or remove it"

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class _Tiff(TiffImageFile):
    """A TIFF without its EXIF tags, because parsing them takes as long as decoding the pixels."""

    def load_end(self) -> None:
        if self.tag_v2.get(Base.Orientation, 1) != 1:
            super().load_end()


def decode_still(content: bytes, path: Path | str, page: int = 0) -> np.ndarray:
    """Decodes a TIFF, PNG, JPEG or BMP. The header is checked before the pixels are decoded.

    Args:
        content: the bytes of the file.
        path: the name for error messages: the path, and the frame number if there are several.
        page: page of a multi-page TIFF, from 0.

    Returns:
        uint8 gray `(height, width)`, 0..255.

    Raises:
        FrameError: the file is empty, truncated or of another format, or its size is out of range.
    """
    if not content:
        raise FrameError(f"{path}: the file is empty; copy it again")
    kind = next((kind for mark, kind in _BEGIN_MARKS.items() if content.startswith(mark)), None)
    if kind is None:
        raise FrameError(f"{path}: {_UNREADABLE}")
    try:
        file = io.BytesIO(content)
        with _Tiff(file) if kind == "TIFF" else Image.open(file, formats=[kind]) as picture:
            if page:
                picture.seek(page)
            check_size(picture.size[::-1], path)
            if kind == "TIFF":
                picture.load()
                if picture.mode in _PILLOW_MODES:
                    return to_gray(np.asarray(picture), path, rgb=True)
    except Image.DecompressionBombError:
        raise FrameError(f"{path}: {_TOO_LARGE}") from None
    except FrameError:
        raise
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, OverflowError, EOFError):
        raise FrameError(f"{path}: {_UNREADABLE}") from None
    if (mark := _END_MARKS.get(kind)) and mark not in content[-4096:]:
        raise FrameError(f"{path}: {_UNREADABLE}")
    return to_gray(_by_opencv(content, path, page), path)


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
            f"{path}: is {format_size(size)}; a frame has at least {MIN_SIDE}x{MIN_SIDE} pixels"
        )


def format_size(size: tuple[int, int]) -> str:
    """Formats a size (height, width) as `WIDTHxHEIGHT`."""
    return f"{size[1]}x{size[0]}"


_TOO_LARGE = f"a frame has at most {MAX_SIDE}x{MAX_SIDE} pixels: crop or shrink it"


def _by_opencv(content: bytes, path: Path | str, page: int) -> np.ndarray:
    buffer = np.frombuffer(content, np.uint8)
    try:
        if page:
            _, pages = cv2.imdecodemulti(buffer, cv2.IMREAD_UNCHANGED, range=(page, page + 1))
            return pages[0]
        pixels = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
    except (cv2.error, IndexError):
        pixels = None
    if pixels is None:
        raise FrameError(f"{path}: {_UNREADABLE}")
    return pixels
