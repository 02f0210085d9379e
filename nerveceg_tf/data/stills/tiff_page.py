"""Reads a page of a TIFF as a picture, where Pillow or OpenCV would misread it.

Both misread some layouts without an error: 16-bit planes, big-endian floats, inverted 16-bit gray,
premultiplied colours.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from nerveceg_tf.data.stills.picture import Picture
from nerveceg_tf.data.stills.tiff_samples import read_samples
from nerveceg_tf.data.stills.tiff_tags import (
    CMYK,
    COLOURS,
    PALETTE,
    WHITE_IS_ZERO,
    YCBCR,
    Layout,
    as_tuple,
    read_layout,
    read_tags,
)
from nerveceg_tf.errors import FrameError
from nerveceg_tf.size import Size

_PREMULTIPLIED = 1


def read_page(
    content: bytes, page: int, path: Path | str, check_size: Callable[[Size], None]
) -> Picture:
    """Reads one page.

    Args:
        content: the bytes of the file.
        page: number of the page, from 0.
        path: the name for error messages.
        check_size: is called with the page's size before its samples are read.

    Returns:
        The samples, upright.

    Raises:
        FrameError: the page has a layout that is not supported.
        OSError, SyntaxError, ValueError, TypeError, KeyError, EOFError, struct.error: the page does
            not exist, or is damaged.
    """
    tags = read_tags(io.BytesIO(content), page)
    layout = read_layout(tags, path)
    check_size(layout.size)
    if layout.photometric == YCBCR:
        return _by_opencv(content, page, path)
    samples, bits = read_samples(content, tags, layout)
    picture = _picture(samples, bits, tags, layout)
    return picture.upright(tags.get(274, 1))


def _picture(
    samples: np.ndarray, bits: int, tags: ImageFileDirectory_v2, layout: Layout
) -> Picture:
    photometric, colours = layout.photometric, COLOURS[layout.photometric]
    alpha = samples[:, :, colours] if samples.shape[2] > colours else None
    pixels, palette = samples[:, :, :colours], None
    if colours == 1:
        pixels = pixels[:, :, 0]
    if photometric == WHITE_IS_ZERO:
        pixels = _white(pixels, bits) - pixels
    elif photometric == PALETTE:
        palette = _colours(tags, bits)
    elif photometric == CMYK:
        pixels = _without_black(pixels, bits)
    extra = as_tuple(tags.get(338, ()))
    return Picture(
        np.ascontiguousarray(pixels),
        bits,
        2**bits - 1 if 8 < bits < 16 else _declared_white(tags),
        palette,
        None if alpha is None else np.ascontiguousarray(alpha),
        extra[:1] == (_PREMULTIPLIED,),
        white_is_zero=photometric == WHITE_IS_ZERO,
    )


def _white(pixels: np.ndarray, bits: int) -> Any:
    if pixels.dtype.kind == "f":
        return pixels.dtype.type(1 if pixels.max() <= 1 else 255)
    return pixels.dtype.type(2 ** (bits - (pixels.dtype.kind == "i")) - 1)


def _colours(tags: ImageFileDirectory_v2, bits: int) -> np.ndarray:
    table = np.asarray(tags[320], np.uint16)
    if bits > 8 or len(table) != 3 * 2**bits:
        raise ValueError("the palette has another length")
    colours = table.reshape(3, -1).T
    # Some programs write 8-bit colours where the format has 16 bits.
    return (colours if colours.max() < 256 else colours >> 8).astype(np.uint8)


def _without_black(inks: np.ndarray, bits: int) -> np.ndarray:
    """Converts cyan, magenta, yellow and black to red, green and blue."""
    full = 2**bits - 1
    rest = full - inks.astype(np.float64)
    return np.rint(rest[:, :, :3] * rest[:, :, 3:] / full).astype(inks.dtype)


def _declared_white(tags: ImageFileDirectory_v2) -> int | None:
    for tag in (341, 281):
        values = as_tuple(tags.get(tag, ()))
        if values and all(isinstance(value, int | float) and value > 0 for value in values):
            return int(max(values))
    return None


def _by_opencv(content: bytes, page: int, path: Path | str) -> Picture:
    """OpenCV decodes YCbCr with any subsampling, and turns it upright."""
    buffer = np.frombuffer(content, np.uint8)
    try:
        _, pages = cv2.imdecodemulti(buffer, cv2.IMREAD_UNCHANGED, range=(page, page + 1))
        pixels = pages[0]
    except (cv2.error, IndexError):
        raise ValueError("OpenCV cannot decode it") from None
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise FrameError(f"{path}: is a TIFF of YCbCr without 8 bits; save it as 8-bit gray")
    return Picture(np.ascontiguousarray(pixels[:, :, 2::-1]))
