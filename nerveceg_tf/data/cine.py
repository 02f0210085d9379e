"""Cines, the files with several frames: multi-page TIFF, DICOM, video and volume."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from nerveceg_tf.data.dicom.dicom import Dicom
from nerveceg_tf.data.extent import MAX_FRAMES, Extent, warn_if_truncated
from nerveceg_tf.data.formats import HEAD, SUFFIXES, Format, file_format, image_suffix, recognise
from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
from nerveceg_tf.data.stills import tiff
from nerveceg_tf.data.videos import video
from nerveceg_tf.data.volumes.volume import Volume, read_header
from nerveceg_tf.data.window import Window
from nerveceg_tf.errors import FrameError


class Cine(Protocol):
    """A file with several frames."""

    def read(self, index: int) -> np.ndarray:
        """Decodes one frame. Frames may be read in any order, and more than once.

        Args:
            index: number of the frame, from 0.

        Returns:
            uint8 gray `(height, width)`, 0..255.

        Raises:
            FrameError: the frame cannot be decoded, or the file has no frame of this number.
        """


def open_cine(path: Path, options: ReadOptions = AS_DECLARED) -> Cine:
    """Opens a file to read its frames by number.

    Args:
        path: a multi-page TIFF, a DICOM, a video or a volume.
        options: how to read it.

    Returns:
        The open file.

    Raises:
        FrameError: the file cannot be read.
    """
    kind = file_format(path)
    if kind == "VIDEO":
        return video.Video(path)
    if kind == "VOLUME":
        return Volume(path, options)
    return Dicom(path, options) if kind == "DICOM" else tiff.Pages(path, options)


class Contents(NamedTuple):
    """What a file of frames holds, as far as it is known without decoding pixels.

    Attributes:
        frames: number of frames that can be read; `None` for a still image.
        region: the scan area that the file declares; `None` for the whole frame.
        spacing: millimetres per pixel, down and right; `None` if they are unknown.
    """

    frames: int | None
    region: Window | None = None
    spacing: tuple[float, float] | None = None


def describe(path: Path) -> Contents:
    """Describes the frames of a file. A DICOM or a volume states its scale, and a DICOM its scan
    area.

    Args:
        path: an image file, a DICOM or a video.

    Raises:
        FrameError: the file cannot be read.
    """
    kind = _format(path)
    if kind == "DICOM":
        dicom = Dicom(path)
        area = dicom.scan_area
        return Contents(_checked_frames(path, dicom.extent), area.window, area.spacing)
    if kind == "VOLUME":
        volume = Volume(path)
        return Contents(_checked_frames(path, volume.extent), spacing=volume.spacing)
    return Contents(_checked_frames(path, _extent(path, kind)))


def count_frames(path: Path) -> int | None:
    """Counts the frames of a file that can be read.

    If the end of the file is missing, the count stops at the last complete frame, and a warning
    reports it. A damaged frame in the middle counts; reading that frame raises an error.

    Args:
        path: an image file, a DICOM, a video or a volume.

    Returns:
        The number of frames; `None` for a still image. Any file with one frame is a still
        image.

    Raises:
        FrameError: the file cannot be read.
    """
    return _checked_frames(path, _extent(path, _format(path)))


def _checked_frames(path: Path, extent: Extent) -> int | None:
    if extent.declared == 1:
        return None
    if not extent.frames:
        raise FrameError(f"{path}: is truncated in its first frame; copy it again, or remove it")
    if extent.frames > MAX_FRAMES:
        raise FrameError(
            f"{path}: declares {extent.frames} frames; at most {MAX_FRAMES} are supported"
        )
    warn_if_truncated(path, extent)
    return extent.frames


def is_truncated(path: Path) -> bool:
    """Returns whether a file lacks frames that it declares, or cannot be read at all."""
    try:
        return _extent(path, _format(path)).truncated
    except FrameError:
        return True


def read_cine(path: Path) -> Iterator[np.ndarray]:
    """Yields the frames of a file in order.

    Only one frame is in memory at a time. For a damaged frame, `next` raises an error. The next
    call of `next` continues with the frame after it.

    Args:
        path: a multi-page TIFF, a DICOM, a video or a volume.

    Returns:
        An iterator over uint8 gray arrays `(height, width)`, 0..255.

    Raises:
        FrameError: the file, or one of its frames, cannot be read.
    """
    return map(open_cine(path).read, range(_extent(path, _format(path)).frames))


def frame_rate(path: Path) -> float:
    """Returns the frame rate of a cine in frames per second; 20 if the file does not state it."""
    rate, kind = 0.0, file_format(path)
    if kind == "VIDEO":
        rate = video.frame_rate(path)
    elif kind == "DICOM":
        rate = Dicom(path).rate()
    return rate if 0 < rate < 1000 else 20.0


def read_dicom(path: Path, options: ReadOptions = AS_DECLARED) -> np.ndarray:
    """Reads a DICOM with one frame.

    Args:
        path: the file.
        options: how to read it.

    Returns:
        uint8 gray `(height, width)`, 0..255.

    Raises:
        FrameError: the file cannot be read, or contains no image.
    """
    return Dicom(path, options).read(0)


def files_of(path: Path) -> list[Path]:
    """Returns the files that contain a frame or cine: one, or a header and its pixels.

    Args:
        path: the file, or the header.

    Raises:
        FrameError: the file cannot be read.
    """
    if (
        SUFFIXES.get(image_suffix(path.name).lower()) not in (None, "VOLUME")
        or file_format(path) != "VOLUME"
    ):
        return [path]
    return sorted({path, read_header(path).pixels})


def _format(path: Path) -> Format | None:
    """Returns the format of a file; `None` for a still image, such as a TIFF with one page."""
    try:
        with path.open("rb") as file:
            kind = recognise(file.read(HEAD), image_suffix(path.name))
            return None if kind == "TIFF" and tiff.has_one_page(file) else kind
    except OSError as error:
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from None


def _extent(path: Path, kind: Format | None) -> Extent:
    if kind == "TIFF":
        return tiff.extent(path)
    if kind == "DICOM":
        return Dicom(path).extent
    if kind == "VOLUME":
        return Volume(path).extent
    return video.extent(path) if kind == "VIDEO" else Extent(1, 1)
