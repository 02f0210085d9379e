"""One ultrasound frame: its files on disk, and how they are read."""

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import chain, groupby
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from nerveceg_tf.data import rle
from nerveceg_tf.data.cine import Cine, open_cine, read_dicom
from nerveceg_tf.data.dicom.dicom import Dicom
from nerveceg_tf.data.formats import HEAD, image_suffix, recognise
from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
from nerveceg_tf.data.stills.decode import GIF, decode_picture, decode_still
from nerveceg_tf.data.stills.mask_levels import mask_of
from nerveceg_tf.data.stills.picture import Picture
from nerveceg_tf.data.stills.tiff import Pages
from nerveceg_tf.data.volumes.volume import Volume
from nerveceg_tf.data.window import Window
from nerveceg_tf.errors import FrameError, NervecegWarning
from nerveceg_tf.size import Size, format_size
from nerveceg_tf.utils.parallel import parallel_map

FINGERPRINT = 780
"""The length of a frame's fingerprint; see `near_duplicates.fingerprint`."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Known:
    """Results of reading a frame. They are stored so that the file is not read twice.

    Attributes:
        digest: hash of the pixels, as from `digest`.
        fingerprint: float16 `(780,)`, as from `near_duplicates.fingerprint`.
        image: uint8 `(height, width)`, gray 0..255; `None` if it is not in memory.
        mask: uint8 `(height, width)`, 0 or 1; `None` if it was not read, or is not in memory.
        has_outline: whether the mask contains a nerve pixel, whatever the label of the frame;
            `None` if the mask was not read.
    """

    digest: str
    fingerprint: np.ndarray
    image: np.ndarray | None = None
    mask: np.ndarray | None = None
    has_outline: bool | None = None

    @property
    def nbytes(self) -> int:
        """The memory of image and mask in bytes."""
        return sum(pixels.nbytes for pixels in (self.image, self.mask) if pixels is not None)


@dataclass(frozen=True)
class Frame:
    """A frame on disk: its files, its subject and its place in a split.

    Attributes:
        name: stem of the file name, for example `"12_34"`, or the path below the data folder, for
            example `"P1/scan/12"`; unique in the data folder. The frames of a cine have a number,
            for example `"sweep_0007"`.
        image: path of the image file.
        subject: the person (or group of scans) that was scanned; `None` if unknown.
        mask: path of the mask file, or Kaggle's run-length string (empty: no nerve); `None` if the
            frame has no mask.
        held_out: the layout of the folder reserves this frame for testing.
        index: number of the frame in a cine, from 0; `None` for a still image.
        mask_index: number of the mask in its file, from 0; `None` for a still image.
        mask_shift: pixels (down, right) by which the mask is moved. Not 0 only if the mask was
            copied from a near-duplicate frame.
        read_options: how its files are read.
        region: the scan area that its file declares; `None` for the whole frame.
        spacing: millimetres per pixel of the frame, down and right; `None` if they are unknown.
        present: the label of the frame, whether it has a nerve; `None` if no table labels it.
        known: results of reading the file before; `None` if it was not read yet.

    Example:
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> frame = Frame("1_1", SAMPLES / "train" / "1_1.tif", subject="1")
        >>> frame.subject, frame.mask is None
        ('1', True)
    """

    name: str
    image: Path
    subject: str | None = None
    mask: Path | str | None = None
    held_out: bool = False
    index: int | None = None
    mask_index: int | None = None
    mask_shift: tuple[int, int] = (0, 0)
    read_options: ReadOptions = AS_DECLARED
    region: Window | None = None
    spacing: tuple[float, float] | None = None
    present: bool | None = None
    known: Known | None = field(default=None, repr=False, compare=False)

    @property
    def label(self) -> bool | None:
        """The label if it decides whether the frame has a nerve; `None` if the mask decides."""
        by_label = self.mask is None or self.read_options.labels == "csv"
        return self.present if by_label else None

    @property
    def kept_together(self) -> str | Path | None:
        """What must stay on one side of a split with others that have the same value: the subject;
        without one, the file of a cine. `None` for a still image of an unknown subject."""
        return self.image if self.subject is None and self.index is not None else self.subject

    @property
    def window(self) -> Window | None:
        """The part of the frame that is read; `None` if it is read whole."""
        return self.region if self.read_options.region else None

    def as_whole(self, mask: np.ndarray) -> np.ndarray:
        """Returns a mask of the frame as it is read, in the size of the whole frame.

        Args:
            mask: any dtype, `(height, width)` of the image as read.

        Returns:
            An array of the same dtype, `(height, width)` of the whole frame; 0 outside of the
            window.
        """
        return self.window.paste(mask) if self.window else mask

    @property
    def is_read(self) -> bool:
        """Whether the pixels of the image are in memory."""
        return self.known is not None and self.known.image is not None

    @property
    def read_results(self) -> Known:
        """The attribute `known` of a frame that was read."""
        assert self.known is not None
        return self.known


class PixelMemory:
    """Limits the memory for decoded frames: the first frames stay in memory until it is full.

    Args:
        room: limit in bytes. The default is enough for 500 frames of 580x420 with their masks.
    """

    def __init__(self, room: int = 256 * 2**20):
        self.room = room

    def keep(self, frame: Frame) -> Frame:
        """Returns the frame, without its pixels if the memory is full."""
        self.room -= frame.read_results.nbytes
        if self.room >= 0:
            return frame
        return replace(frame, known=replace(frame.read_results, image=None, mask=None))


def read_image(
    path: Path | str, index: int | None = None, options: ReadOptions = AS_DECLARED
) -> np.ndarray:
    """Reads a TIFF, PNG, JPEG, BMP, WebP, DICOM or volume, or one frame of a cine, as 8-bit gray.

    Stills are turned as their orientation tag says, and their values are scaled to 8-bit gray as
    `brightness.to_8_bits` describes. For a DICOM, rescaling, window and photometric interpretation
    are applied as a viewer does it, and only the scan area is read if the file declares one.

    Args:
        path: the file.
        index: number of the frame in a cine, from 0; `None` for a still image.
        options: how to read the file.

    Returns:
        uint8 array `(height, width)`, gray 0..255.

    Raises:
        FrameError: the file is missing, empty, truncated or of another format, or the size of the
            frame is not between 16x16 and 8192x8192 pixels.

    Example:
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> image = read_image(SAMPLES / "train" / "1_1.tif")
        >>> image.shape, image.dtype
        ((112, 144), dtype('uint8'))
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
            kind = recognise(head, image_suffix(path.name))
            if kind not in ("VIDEO", "DICOM", "VOLUME") and (index is None or kind != "TIFF"):
                return decode_still(head + file.read(), path, index or 0, options)
        if kind == "VIDEO" or (kind == "VOLUME" and index is None):
            return open_cine(path, options).read(index or 0)
        if index is None:
            return read_dicom(path, options)
        state = path.stat()
    except OSError as error:
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from None
    return _open_cached(path, options, state.st_mtime_ns, state.st_size).read(index)


@lru_cache(maxsize=4)
def _open_cached(path: Path, options: ReadOptions, _modified: int, _size: int) -> Cine:
    """Opens a cine. The result is cached, because all masks of a cine may be in one file."""
    return open_cine(path, options)


def map_frames(
    function: Callable[[Frame, Callable[[], np.ndarray]], Result], frames: Iterable[Frame]
) -> Iterator[Result]:
    """Yields `function(frame, read)` for each frame, in order and in parallel.

    A cine is opened once for consecutive frames of it.

    Args:
        function: is called with a frame and a function `read`. `read()` returns the pixels of the
            frame, or raises an error, like `read_image`.
        frames: frames on disk. The frames of a cine may be in any order and may be repeated. If
            their numbers decrease, a video is decoded from the start again.

    Returns:
        An iterator over the results; see `parallel_map`.
    """

    def cine_to_read(frame: Frame) -> Path | None:
        return None if frame.index is None or frame.is_read else frame.image

    def results() -> Iterator[Iterator[Result]]:
        for cine, group in groupby(frames, key=cine_to_read):
            if cine is None:
                yield parallel_map(lambda f: function(f, partial(_pixels, f)), group)
            else:
                yield parallel_map(lambda pair: function(*pair), _read_group(cine, list(group)))

    return chain.from_iterable(results())


def _pixels(frame: Frame) -> np.ndarray:
    image = frame.known.image if frame.known else None
    return read_image(frame.image, options=frame.read_options) if image is None else image


def _read_group(
    path: Path, frames: Sequence[Frame]
) -> Iterator[tuple[Frame, Callable[[], np.ndarray]]]:
    try:
        read = open_cine(path, frames[0].read_options).read
    except FrameError as error:
        read = partial(_fail, error)
    for frame in frames:
        assert frame.index is not None  # the frames of a cine are numbered
        try:
            image = read(frame.index)
        except FrameError as error:
            yield frame, partial(_fail, error)
        else:
            yield frame, partial(np.asarray, image)


def _fail(error: FrameError, _index: int | None = None) -> np.ndarray:
    raise error


def read_mask(frame: Frame, size: Size) -> np.ndarray:
    """Reads the mask of a frame.

    Which values and colours of a mask file are nerve, `mask_levels.mask_of` describes. If the label
    of the frame decides and is 0, the mask is empty.

    Args:
        frame: a labelled frame.
        size: height and width of the frame's image in pixels. The mask must have the same size, or
            that of the whole frame if only a part of it is read.

    Returns:
        uint8 array `(height, width)`: 1 on the nerve, 0 elsewhere.

    Raises:
        FrameError: the frame has no mask; or the mask cannot be read, has another size, has several
            values beside the background and `frame.read_options` selects none, or has a nerve
            outside of the part that is read.

    Example:
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> from nerveceg_tf.data.folders.layouts import find_frames
        >>> frame = find_frames(SAMPLES)[0]
        >>> mask = read_mask(frame, read_image(frame.image).shape)
        >>> mask.dtype, int(mask.max())
        (dtype('uint8'), 1)
    """
    mask = read_annotated_mask(frame, size)
    return np.zeros_like(mask) if frame.label is False else mask


def read_annotated_mask(frame: Frame, size: Size) -> np.ndarray:
    """As `read_mask`, without regard to the label of the frame."""
    if frame.mask is None:
        raise FrameError(f"{frame.image}: has no mask; add one, or remove the frame")
    if frame.known is not None and frame.known.mask is not None:
        return frame.known.mask
    if isinstance(frame.mask, str):
        try:
            whole = frame.window.whole if frame.window else size
            mask = _in_window(rle.decode(frame.mask, whole), frame, size)
            return _moved(mask, frame.mask_shift)
        except ValueError as error:
            raise FrameError(f"{frame.image}: the row with its run-length mask {error}") from None
    picture = _read_mask_picture(frame.mask, frame.mask_index, frame.read_options)
    shape = picture.pixels.shape[:2]
    if shape not in (size, frame.window and frame.window.whole):
        raise FrameError(
            f"{frame.mask}: the mask is {format_size(shape)}, the frame {frame.image.name}"
            f" {format_size(size)}; save the mask in the frame's size"
        )
    mask = _in_window(mask_of(picture, frame.mask, frame.read_options), frame, size)
    return _moved(mask, frame.mask_shift)


def _read_mask_picture(path: Path, index: int | None, options: ReadOptions) -> Picture:
    """Reads the values of a mask as the file stores them, because gray would hide small ones."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
            kind = recognise(head, image_suffix(path.name))
            is_video = kind == "VIDEO" and (index is not None or not head.startswith(GIF))
            in_pages = kind == "TIFF" and index is not None
            if not (is_video or in_pages or kind in ("VOLUME", "DICOM")):
                return decode_picture(head + file.read(), path, index or 0)
        state = path.stat()
    except OSError as error:
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from None
    if is_video:
        return Picture(read_image(path, index, options), lossy=True)
    cine = _open_cached(path, options, state.st_mtime_ns, state.st_size)
    if isinstance(cine, Volume):
        return Picture(cine.read_raw(index or 0))
    assert isinstance(cine, Pages | Dicom)
    return cine.picture(index or 0)


def _in_window(mask: np.ndarray, frame: Frame, size: Size) -> np.ndarray:
    """Returns the part of a mask that belongs to the part of the frame that is read."""
    window = frame.window
    if window is None or mask.shape == size or mask.shape != window.whole:
        return mask
    if outside := window.count_outside(mask):
        raise FrameError(
            f"{frame.mask if isinstance(frame.mask, Path) else frame.image}: its mask has {outside}"
            f" nerve pixels outside of the scan area of {frame.image.name}; correct it, or pass"
            " region=False"
        )
    return window.crop(mask)


def note_unused_mask_value(frames: Sequence[Frame], present: Iterable[bool]) -> None:
    """Warns if values of a nerve were stated, and no mask has any of them.

    Args:
        frames: labelled frames of one folder.
        present: for each of them, whether its mask has a nerve.
    """
    files = [
        has_nerve for f, has_nerve in zip(frames, present, strict=True) if isinstance(f.mask, Path)
    ]
    values = frames[0].read_options.mask_value if files else None
    if isinstance(values, tuple) and not any(files):
        stated = ",".join(map(str, values))
        warnings.warn(
            f"mask_value={stated}: none of the {len(files)} mask files has such a pixel, so none"
            " has a nerve; without the option, the values of a mask are listed",
            NervecegWarning,
            stacklevel=3,
        )


def _moved(mask: np.ndarray, shift: tuple[int, int]) -> np.ndarray:
    if shift == (0, 0):
        return mask
    move = np.array([[1, 0, shift[1]], [0, 1, shift[0]]], np.float32)
    return cv2.warpAffine(mask, move, mask.shape[::-1], flags=cv2.INTER_NEAREST)


def digest(image: np.ndarray) -> str:
    """Hashes the pixels of a frame; the file's name and lossless format make no difference.

    Args:
        image: uint8 `(height, width)`.

    Returns:
        20 hexadecimal digits.
    """
    shape = np.array(image.shape, "<i8").tobytes()
    return hashlib.sha256(shape + image.tobytes()).hexdigest()[:20]
