"""One ultrasound frame: where it lies on disk, and how it is read."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from nerveceg_tf.data import rle
from nerveceg_tf.data.cine import DICOM, TIFF, VIDEO, Cine, open_cine, read_dicom
from nerveceg_tf.data.decode import decode_still, format_size
from nerveceg_tf.errors import FrameError
from nerveceg_tf.size import Size
from nerveceg_tf.utils.parallel import parallel_map

SUFFIXES = (*TIFF, ".png", ".jpg", ".jpeg", ".bmp", *DICOM, *VIDEO)

FINGERPRINT = 780
"""How many numbers a frame's fingerprint has; see `twins.fingerprint`."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Known:
    """What was found when a frame was read, so that it is not read again.

    Attributes:
        digest: as of `digest`.
        fingerprint: float16 `(780,)`, as of `twins.fingerprint`.
        image: uint8 `(height, width)`; `None` where so many frames were read that not all are kept.
        mask: uint8 `(height, width)`, 0 or 1; `None` where it was not read, or is not kept.
    """

    digest: str
    fingerprint: np.ndarray
    image: np.ndarray | None = None
    mask: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Memory that image and mask take."""
        return sum(pixels.nbytes for pixels in (self.image, self.mask) if pixels is not None)


@dataclass(frozen=True)
class Frame:
    """A frame on disk, with what is known about it.

    Attributes:
        name: file stem, unique in its folder, such as `"12_34"`; of a frame of a cine, with its
            number, such as `"sweep_0007"`.
        image: path of the image file.
        subject: the person (or scan group) that was scanned; `None` if unknown.
        mask: path of the mask file, or Kaggle's run-length string (empty: no nerve), or `None`
            if the frame is not labelled.
        held_out: the folder's own layout sets this frame aside for testing.
        index: which frame of a file of several, from 0; `None` for a still.
        mask_index: the same for the mask's file.
        mask_shift: pixels to move the mask down and to the right, when it was drawn on a twin.
        known: what an earlier reading of the file found, if there was one.
    """

    name: str
    image: Path
    subject: str | None = None
    mask: Path | str | None = None
    held_out: bool = False
    index: int | None = None
    mask_index: int | None = None
    mask_shift: tuple[int, int] = (0, 0)
    known: Known | None = field(default=None, repr=False, compare=False)

    @property
    def is_read(self) -> bool:
        """Whether its pixels are in memory."""
        return self.known is not None and self.known.image is not None


class PixelMemory:
    """Decides which frames keep the pixels that were read: the first ones, while there is room.

    Args:
        room: bytes; by default enough for 500 frames of 580x420 with their masks.
    """

    def __init__(self, room: int = 256 * 2**20):
        self.room = room

    def keep(self, frame: Frame) -> Frame:
        """The frame, without its pixels if there is no room left for them."""
        self.room -= frame.known.nbytes
        if self.room >= 0:
            return frame
        return replace(frame, known=replace(frame.known, image=None, mask=None))


def read_image(path: Path, index: int | None = None) -> np.ndarray:
    """Reads one TIFF, PNG, JPEG, BMP or DICOM, or one frame of a cine, as 8-bit gray.

    16-bit gray values are divided by 257, colours are turned into luma, transparency is ignored.
    Of a DICOM, the photometric interpretation is applied, and of one with more than 8 bits the
    window.

    Args:
        path: the file.
        index: which frame of a file of several, from 0.

    Returns:
        uint8 array `(height, width)`.

    Raises:
        FrameError: the file is empty, truncated, of another kind, or of an impossible size.
    """
    suffix = path.suffix.lower()
    if suffix in VIDEO:
        return open_cine(path).read(index or 0)
    try:
        if index is not None and suffix in (*TIFF, *DICOM):
            state = path.stat()
            return _opened(path, state.st_mtime_ns, state.st_size).read(index)
        if suffix in DICOM:
            return read_dicom(path)
        content = path.read_bytes()
    except OSError as error:
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from None
    return decode_still(content, path, index or 0)


@lru_cache(maxsize=4)
def _opened(path: Path, _changed: int, _size: int) -> Cine:
    """CompressedPrediction for the masks of a cine, which are in one file."""
    return open_cine(path)


def map_frames(
    function: Callable[[Frame, Callable[[], np.ndarray]], Result], frames: Iterable[Frame]
) -> Iterator[Result]:
    """Yields `function(frame, read)` for each frame, in order, as `parallel_map` does.

    Args:
        function: `read()` gives it the frame's pixels as `read_image` does, or raises what that
            raises. A cine is opened once, and read one frame after the other.
        frames: frames on disk; those of a cine may come in any order, and again. A video is started
            again where they do not ascend.
    """

    def cine_to_read(frame: Frame) -> Path | None:
        return None if frame.index is None or frame.is_read else frame.image

    for cine, group in groupby(frames, key=cine_to_read):
        if cine is None:
            yield from parallel_map(lambda f: function(f, partial(_pixels, f)), group)
        else:
            yield from parallel_map(lambda pair: function(*pair), _each_of(cine, group))


def _pixels(frame: Frame) -> np.ndarray:
    return frame.known.image if frame.is_read else read_image(frame.image)


def _each_of(
    path: Path, frames: Iterable[Frame]
) -> Iterator[tuple[Frame, Callable[[], np.ndarray]]]:
    try:
        read = open_cine(path).read
    except FrameError as error:
        read = partial(_fail, error)
    for frame in frames:
        try:
            image = read(frame.index)
        except FrameError as error:
            yield frame, partial(_fail, error)
        else:
            yield frame, partial(np.asarray, image)


def _fail(error: FrameError, _index: int | None = None) -> np.ndarray:
    raise error


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
    if frame.known is not None and frame.known.mask is not None:
        return frame.known.mask
    if frame.mask is None:
        raise FrameError(f"{frame.image}: has no mask; add one, or take the frame out")
    if isinstance(frame.mask, str):
        try:
            return _moved(rle.decode(frame.mask, size), frame.mask_shift)
        except ValueError as error:
            raise FrameError(f"{frame.image}: its row of run lengths {error}") from None
    pixels = read_image(frame.mask, frame.mask_index)
    if pixels.shape != size:
        raise FrameError(
            f"{frame.mask}: is {format_size(pixels.shape)} but its frame {frame.image.name} is {format_size(size)};"
            " make them equal"
        )
    values = np.flatnonzero(cv2.calcHist([pixels], [0], None, [256], [0, 256]))
    if len(values) > 2 or (len(values) == 2 and values[0] != 0):
        listed = ", ".join(map(str, values[:4])) + (", …" if len(values) > 4 else "")
        raise FrameError(
            f"{frame.mask}: holds the {len(values)} gray values {listed}; a mask has 0 and one"
            " other: threshold it, and save it as PNG or TIFF"
        )
    return _moved((pixels > 0).astype(np.uint8), frame.mask_shift)


def _moved(mask: np.ndarray, shift: tuple[int, int]) -> np.ndarray:
    if shift == (0, 0):
        return mask
    move = np.float32([[1, 0, shift[1]], [0, 1, shift[0]]])
    return cv2.warpAffine(mask, move, mask.shape[::-1], flags=cv2.INTER_NEAREST)


def digest(image: np.ndarray) -> str:
    """A fingerprint of a frame's pixels, the same under any name and in any lossless format."""
    shape = np.array(image.shape, "<i8").tobytes()
    return hashlib.sha256(shape + image.tobytes()).hexdigest()[:20]
