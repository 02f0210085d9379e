"""Scales the samples of a still image to 8-bit gray."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from nerveceg_tf.data.read_options import ReadOptions
from nerveceg_tf.data.stills.picture import Picture, is_constant, luma
from nerveceg_tf.errors import FrameError
from nerveceg_tf.utils.once import warn_once

_BITS_OF_SILENT_FILES = 12
_MIN_WHITE_8_BITS = 128


def to_8_bits(picture: Picture, path: Path | str, options: ReadOptions) -> np.ndarray:
    """Converts a picture to gray as a viewer shows it.

    - Up to 8 bits: 0 is black, the largest value of so many bits is white.
    - 16 bits: white is the largest value of `options.bits`; if that is `None`, of the bits that the
      file declares. If it declares none, files without a value above 4095 are read as 12-bit, and
      files whose largest value is 128..255 as 8-bit. A note tells so once. Other files use all 16
      bits.
    - Signed integers and integers of more bits: as 16 bits, if the bits are stated or declared, and
      no value is negative.
    - Floats: 0..1, or 0..255 if a value is above 1.
    - Colours become luma. Opacity is ignored, unless the picture has one colour only: then the
      opacity is the picture.

    Args:
        picture: the samples.
        path: the name for error messages.
        options: how to read the file.

    Returns:
        uint8 gray `(height, width)`, 0..255.

    Raises:
        FrameError: the values are not gray values of a known range.
    """
    if picture.is_plain:
        return picture.pixels
    pixels, palette = picture.pixels, picture.palette
    if picture.alpha is not None:
        if is_constant(pixels) and not is_constant(picture.alpha):
            pixels, palette = picture.alpha, None
        elif picture.premultiplied:
            pixels = _straight(pixels, picture.alpha, picture.bits)
    if palette is not None:
        pixels = palette[pixels]
    elif pixels.dtype.kind == "f":
        pixels = _from_floats(pixels, path)
    elif picture.bits < 8:
        pixels = _table(picture.bits)[pixels]
    elif pixels.dtype != np.uint8:
        pixels = _from_integers(pixels, picture.white, path, options)
    return luma(pixels) if pixels.ndim == 3 else pixels


def _straight(pixels: np.ndarray, alpha: np.ndarray, bits: int) -> np.ndarray:
    """Divides colours by the opacity that they are multiplied by. Transparent pixels are black."""
    opaque = 1.0 if pixels.dtype.kind == "f" else 2.0**bits - 1
    alpha = alpha if pixels.ndim == 2 else alpha[..., None]
    straight = np.minimum(pixels * (opaque / np.maximum(alpha, 1e-6)), opaque)
    straight = np.where(alpha > 0, straight, 0)
    return (straight if pixels.dtype.kind == "f" else np.rint(straight)).astype(pixels.dtype)


def _from_floats(pixels: np.ndarray, path: Path | str) -> np.ndarray:
    low, high = float(pixels.min()), float(pixels.max())  # NaN if any pixel is
    if not 0 <= low <= high <= 255:
        between = f"from {low:g} to {high:g}" if np.isfinite((low, high)).all() else "NaN or inf"
        raise FrameError(
            f"{path}: has {pixels.dtype} values, {between}; save gray values 0..1, or 0..255"
        )
    return np.rint(pixels * (255 if high <= 1 else 1)).astype(np.uint8)


def _from_integers(
    pixels: np.ndarray, white: int | None, path: Path | str, options: ReadOptions
) -> np.ndarray:
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0:
        raise FrameError(
            f"{path}: has {pixels.dtype} pixels from {low} to {high}; save gray values without a"
            " sign, with 8 or 16 bits"
        )
    bits = options.bits or _declared_bits(white, high)
    if bits is None:
        if pixels.dtype != np.uint16:
            raise FrameError(
                f"{path}: has {pixels.dtype} pixels; save it with 8 or 16 bits without a sign, or"
                " pass bits=N if its values have N bits"
            )
        bits = _likely_bits(high, path)
    if high >= 2**bits:
        raise FrameError(
            f"{path}: has values up to {high}, which {bits} bits cannot have; pass bits="
            f"{high.bit_length()} or more, or none"
        )
    return _table(bits)[pixels]


def _declared_bits(white: int | None, high: int) -> int | None:
    """Returns the bits of the declared white, if the declaration can be true.

    Some programs write the largest value of this very picture into the tag.
    """
    if white is None or not 255 <= white < 2**16 or high > white:
        return None
    is_full_range = white & (white + 1) == 0
    return white.bit_length() if is_full_range or high < white else None


def _likely_bits(high: int, path: Path | str) -> int:
    if high >= 2**_BITS_OF_SILENT_FILES:
        return 16
    bits = 8 if _MIN_WHITE_8_BITS <= high < 256 else _BITS_OF_SILENT_FILES
    if high:
        warn_once(
            f"{bits} bits",
            f"{path}: has 16 bits and no value above {high}, so it is read as {bits}-bit, and so is"
            " every such file; pass bits=16, or another number of bits, if that is wrong",
            stacklevel=2,
        )
    return bits


@lru_cache(maxsize=4)
def _table(bits: int) -> np.ndarray:
    """The 8-bit gray of each value: uint8 `(2**bits,)`."""
    white = 2**bits - 1
    return ((np.arange(2**bits) * 255 + white // 2) // white).astype(np.uint8)
