"""Files that hold several frames: TIFFs of many pages, DICOM, and video."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from nerveceg_tf.data import tiff, video
from nerveceg_tf.data.dicom import Dicom
from nerveceg_tf.data.extent import MAX_FRAMES, Extent, note_if_cut_off
from nerveceg_tf.errors import FrameError

TIFF = (".tif", ".tiff")
DICOM = (".dcm", ".dicom")
VIDEO = (".mp4", ".avi", ".mov", ".mkv")


class Cine(Protocol):
    """A file of several frames."""

    def read(self, index: int) -> np.ndarray:
        """Decodes a frame as uint8 gray `(height, width)`; in any order, and again.

        Raises:
            FrameError: that one cannot be decoded, or is not there.
        """


def open_cine(path: Path) -> Cine:
    """Opens a file to read its frames by number.

    Raises:
        FrameError: the file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in VIDEO:
        return video.Video(path)
    return Dicom(path) if suffix in DICOM else tiff.Pages(path)


def count_frames(path: Path) -> int | None:
    """How many frames of a file can be reached; `None` for a still, which a DICOM or TIFF of one
    frame is.

    Where the file's end is missing, these are the frames up to the last whole one, and a note says
    so. A damaged frame before others counts: it is an error when it is read.

    Raises:
        FrameError: the file cannot be read.
    """
    extent = _extent(path)
    if extent.declared == 1:
        return None
    if not extent.frames:
        raise FrameError(f"{path}: is cut off in its first frame; fetch it again or take it out")
    if extent.frames > MAX_FRAMES:
        raise FrameError(
            f"{path}: says that it holds {extent.frames} frames; at most {MAX_FRAMES} are read"
        )
    note_if_cut_off(path, extent)
    return extent.frames


def is_cut_off(path: Path) -> bool:
    """Whether a file lacks frames that it ought to hold, or cannot be read at all."""
    try:
        return _extent(path).cut_off
    except FrameError:
        return True


def read_cine(path: Path) -> Iterator[np.ndarray]:
    """Gives the frames of a file, one after the other, as uint8 gray `(height, width)`.

    Only one frame is in memory at a time. Where one is damaged, `next` raises its error, and goes
    on to the one behind it when it is called again.

    Raises:
        FrameError: the file, or one of its frames, cannot be read.
    """
    return map(open_cine(path).read, range(_extent(path).frames))


def frame_rate(path: Path) -> float:
    """A cine's frames a second, or 20 where it does not say."""
    rate = 0.0
    if path.suffix.lower() in VIDEO:
        rate = video.frame_rate(path)
    elif path.suffix.lower() in DICOM:
        rate = Dicom(path).rate()
    return rate if 0 < rate < 1000 else 20.0


def read_dicom(path: Path) -> np.ndarray:
    """Reads a DICOM of one frame as uint8 gray `(height, width)`.

    Raises:
        FrameError: the file cannot be read, or holds no picture.
    """
    return Dicom(path).read(0)


def _extent(path: Path) -> Extent:
    suffix = path.suffix.lower()
    if suffix in TIFF:
        return tiff.extent(path)
    if suffix in DICOM:
        return Dicom(path).extent
    return video.extent(path) if suffix in VIDEO else Extent(1, 1)
