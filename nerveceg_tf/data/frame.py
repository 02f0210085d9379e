"""One ultrasound frame: where it lies on disk, and how it is read."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from nerveceg_tf.data import rle
from nerveceg_tf.errors import FrameError

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")
MIN_SIDE = 16
MAX_SIDE = 8192

Size = tuple[int, int]
"""Height and width in pixels."""

# What a whole file ends with: libjpeg and libpng decode a truncated one without an error.
_END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@dataclass(frozen=True)
class Frame:
    """A frame on disk, with what is known about it.

    Attributes:
        name: file stem, unique in its folder, such as `"12_34"`.
        image: path of the image file.
        subject: the person (or scan group) that was scanned; `None` if unknown.
        mask: path of the mask file, or Kaggle's run-length string (empty: no nerve), or `None`
            if the frame is not labelled.
        held_out: the folder's own layout sets this frame aside for testing.
    """

    name: str
    image: Path
    subject: str | None = None
    mask: Path | str | None = None
    held_out: bool = False


def read_image(path: Path) -> np.ndarray:
    """Reads one TIFF, PNG, JPEG or BMP as 8-bit gray.

    16-bit gray values are divided by 257, colours are turned into luma, transparency is ignored.

    Returns:
        uint8 array `(height, width)`.

    Raises:
        FrameError: the file is empty, truncated, of another kind, or of an impossible size.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from None
    pixels = _decode(content, path)
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif pixels.dtype != np.uint8:
        raise FrameError(f"{path}: holds {pixels.dtype} pixels; save it with 8 or 16 bits")
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] >= 3:
        return cv2.cvtColor(np.ascontiguousarray(pixels[:, :, :3]), cv2.COLOR_BGR2GRAY)
    return np.ascontiguousarray(pixels[:, :, 0])


def read_mask(frame: Frame, size: Size) -> np.ndarray:
    """Reads a frame's mask.

    Args:
        frame: a labelled frame.
        size: height and width of the frame's image, which the mask must share.

    Returns:
        uint8 array of `size`: 1 on the nerve, 0 elsewhere.

    Raises:
        FrameError: the frame has no mask, or the mask is unreadable, of another size, or holds
            anything but 0 and one other value.
    """
    if frame.mask is None:
        raise FrameError(f"{frame.image}: has no mask; add one, or take the frame out")
    if isinstance(frame.mask, str):
        try:
            return rle.decode(frame.mask, size)
        except ValueError as error:
            raise FrameError(f"{frame.image}: its row of run lengths {error}") from None
    pixels = read_image(frame.mask)
    if pixels.shape != size:
        raise FrameError(
            f"{frame.mask}: is {_by(pixels.shape)} but its frame {frame.image.name} is {_by(size)};"
            " make them equal"
        )
    values = np.flatnonzero(np.bincount(pixels.ravel(), minlength=256))
    if len(values) > 2 or (len(values) == 2 and values[0] != 0):
        listed = ", ".join(map(str, values[:4])) + (", …" if len(values) > 4 else "")
        raise FrameError(
            f"{frame.mask}: holds the {len(values)} gray values {listed}; a mask has 0 and one"
            " other: threshold it, and save it as PNG or TIFF"
        )
    return (pixels > 0).astype(np.uint8)


def resize(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Resizes a `(height, width)` array: area average where an axis shrinks, linear where it grows.

    `nerveceg_tf.models.resize.Resize` computes the same inside a model.
    """
    height, width = size
    if (pixels.shape[0] - height) * (pixels.shape[1] - width) < 0:
        # One axis shrinks and one grows. OpenCV has one method for both, so each goes by itself.
        exact = resize(pixels.astype(np.float32), (height, pixels.shape[1]))
        resized = resize(exact, size)
        return resized if pixels.dtype == np.float32 else np.rint(resized).astype(pixels.dtype)
    shrinks = height < pixels.shape[0] or width < pixels.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(pixels, (width, height), interpolation=method)


def digest(image: np.ndarray) -> str:
    """A fingerprint of a frame's pixels, the same under any name and in any lossless format."""
    shape = np.array(image.shape, "<i8").tobytes()
    return hashlib.sha256(shape + image.tobytes()).hexdigest()[:20]


def _decode(content: bytes, path: Path) -> np.ndarray:
    if not content:
        raise FrameError(f"{path}: the file is empty; fetch it again")
    try:
        with Image.open(io.BytesIO(content)) as header:
            kind, (width, height) = header.format, header.size
            if kind == "TIFF" and max(height, width) <= MAX_SIDE:
                header.load()  # OpenCV fills the strips that it cannot decode with garbage
    except Image.DecompressionBombError:
        raise FrameError(f"{path}: {_TOO_LARGE}") from None
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, OverflowError):
        raise FrameError(f"{path}: {_UNREADABLE}") from None
    if max(height, width) > MAX_SIDE:
        raise FrameError(f"{path}: is {_by((height, width))}; {_TOO_LARGE}")
    if min(height, width) < MIN_SIDE:
        raise FrameError(
            f"{path}: is {_by((height, width))}; a frame has at least {MIN_SIDE}x{MIN_SIDE} pixels"
        )
    if (mark := _END_MARKS.get(kind)) and mark not in content[-4096:]:
        raise FrameError(f"{path}: {_UNREADABLE}")
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise FrameError(f"{path}: {_UNREADABLE}")
    return pixels


_UNREADABLE = "is truncated or not a TIFF, PNG, JPEG or BMP; fetch it again or take it out"
_TOO_LARGE = f"a frame has at most {MAX_SIDE}x{MAX_SIDE} pixels: crop or shrink it"


def _by(size: Size) -> str:
    """Width by height, as people name a frame's size."""
    return f"{size[1]}x{size[0]}"
