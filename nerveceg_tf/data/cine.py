"""Files that hold several frames: TIFFs of many pages, DICOM, and video."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from nerveceg_tf.data.decode import check_size, decode_still, to_gray
from nerveceg_tf.errors import FrameError

TIFF = (".tif", ".tiff")
DICOM = (".dcm", ".dicom")
VIDEO = (".mp4", ".avi", ".mov", ".mkv")
MAX_FRAMES = 100_000


def count_frames(path: Path) -> int | None:
    """How many frames a file holds; `None` for a still, which a DICOM or TIFF of one frame is.

    Raises:
        FrameError: the file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in TIFF:
        count = _count_pages(path)
    elif suffix in DICOM:
        count = _header(path).frames
    elif suffix in VIDEO:
        count = _count_video(path)
    else:
        return None
    if count > MAX_FRAMES:
        raise FrameError(
            f"{path}: says that it holds {count} frames; at most {MAX_FRAMES} are read"
        )
    return count if count > 1 else None


def read_cine(path: Path) -> Iterator[np.ndarray]:
    """Yields the frames of a file, one after the other, as uint8 gray `(height, width)`.

    Only one frame is in memory at a time.

    Raises:
        FrameError: the file, or one of its frames, cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in VIDEO:
        yield from _video(path)
    elif suffix in DICOM:
        yield from _dicom(path)
    else:
        _check_readable(path)
        content = path.read_bytes()
        for page in range(count_frames(path) or 1):
            yield decode_still(content, path, page)


def frame_rate(path: Path) -> float:
    """A cine's frames a second, or 20 where it does not say."""
    rate = 0.0
    if path.suffix.lower() in VIDEO:
        video = _open_video(path)
        rate = video.get(cv2.CAP_PROP_FPS)
        video.release()
    elif path.suffix.lower() in DICOM:
        rate = _guarded(path, lambda: _dicom_rate(path))
    return rate if 0 < rate < 1000 else 20.0


def read_dicom(path: Path) -> np.ndarray:
    """Reads a DICOM of one frame as uint8 gray `(height, width)`.

    Raises:
        FrameError: the file cannot be read, or holds no picture.
    """
    return next(_dicom(path, only=0))


def _count_pages(path: Path) -> int:
    """Counts a TIFF's pages; most have one, which its first directory's end tells."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
            order = {b"II*\0": "little", b"MM\0*": "big"}.get(start[:4])
            if order:
                file.seek(int.from_bytes(start[4:8], order))
                file.seek(12 * int.from_bytes(file.read(2), order), os.SEEK_CUR)
                if file.read(4) in (b"\0\0\0\0", b""):
                    return 1
        with Image.open(path) as picture:
            return getattr(picture, "n_frames", 1)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, OverflowError, EOFError):
        return 1  # whoever decodes it will say what is wrong
    except Image.DecompressionBombError:
        return 1


def _check_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from None


def _dicom(path: Path, only: int | None = None) -> Iterator[np.ndarray]:
    """Decodes frames with nothing but the tags that describe pixels, and so without any name."""
    _check_readable(path)
    pydicom = _pydicom(path)
    header = _header(path)
    if not header.rows or not header.columns:
        raise FrameError(f"{path}: is a DICOM without a picture; take it out")
    check_size((header.rows, header.columns), path)
    frames = _guarded(
        path, lambda: pydicom.pixels.iter_pixels(path, indices=None if only is None else [only])
    )
    while (frame := _guarded(path, lambda: next(frames, None))) is not None:
        yield to_gray(
            _guarded(path, lambda f=frame: _eight_bits(f, header.tags, pydicom)), path, rgb=True
        )


def _eight_bits(frame: np.ndarray, facts: Any, pydicom: Any) -> np.ndarray:
    kind = facts.get("PhotometricInterpretation", "")
    if kind == "PALETTE COLOR":
        return pydicom.pixels.apply_color_lut(frame, facts)
    if frame.ndim == 3:
        return frame
    bits = int(facts.BitsStored)
    if bits != 8 or frame.dtype != np.uint8:
        black = -(2 ** (bits - 1)) if facts.get("PixelRepresentation") else 0
        white = black + 2**bits - 1
        if facts.get("WindowWidth"):
            frame = pydicom.pixels.apply_modality_lut(frame, facts)
            centre, width = (_first(facts[f"Window{part}"].value) for part in ("Center", "Width"))
            black, white = centre - width / 2, centre + width / 2 - 1  # DICOM PS3.3 C.11.2.1.2
        scaled = (frame.astype(np.float64) - black) * (255 / max(white - black, 1))
        frame = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return 255 - frame if kind == "MONOCHROME1" else frame


def _first(value: Any) -> float:
    return float(value if np.isscalar(value) else value[0])


def _dicom_rate(path: Path) -> float:
    tags = _pydicom(path).dcmread(path, specific_tags=["FrameTime", "CineRate"])
    if tags.get("FrameTime"):
        return 1000 / float(tags.FrameTime)
    return float(tags.get("CineRate") or 0)


class _Header(NamedTuple):
    """What a DICOM says of its pixels; `tags` is group 0028, which holds no name."""

    rows: int
    columns: int
    frames: int
    tags: Any


def _header(path: Path) -> _Header:
    pydicom = _pydicom(path)

    def read() -> _Header:
        syntax = pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID", "")
        if syntax == pydicom.uid.DeflatedExplicitVRLittleEndian:
            raise FrameError(f"{path}: is a deflated DICOM, whose size cannot be told; inflate it")
        tags = pydicom.dcmread(path, stop_before_pixels=True)
        tags = tags.group_dataset(0x0028)
        rows, columns, frames = (
            int(tags.get(tag) or default)
            for tag, default in (("Rows", 0), ("Columns", 0), ("NumberOfFrames", 1))
        )
        return _Header(rows, columns, max(frames, 1), tags)

    return _guarded(path, read)


def _pydicom(path: Path) -> Any:
    try:
        import pydicom
        import pydicom.pixels

        warnings.filterwarnings("ignore", module="pydicom")  # they can hold a patient's name
        logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    except ModuleNotFoundError:
        raise FrameError(f"{path}: DICOM needs pydicom; run pip install pydicom") from None
    return pydicom


def _guarded(path: Path, work: Callable[[], Any]) -> Any:
    """Turns whatever pydicom raises into one error, without the words of the file."""
    try:
        return work()
    except FrameError:
        raise
    except Exception as error:  # a damaged file can fail anywhere in it
        kind = type(error).__name__
        raise FrameError(
            f"{path}: is no DICOM that can be decoded ({kind}); convert it, or take it out"
        ) from None


def _video(path: Path) -> Iterator[np.ndarray]:
    video = _open_video(path)
    try:
        while (read := video.read())[0]:
            yield to_gray(read[1], path)
    finally:
        video.release()


def _count_video(path: Path) -> int:
    video = _open_video(path)  # its header may lie, so count
    try:
        count = 0
        while count <= MAX_FRAMES and video.grab():
            count += 1
    finally:
        video.release()
    if not count:
        raise FrameError(f"{path}: is a video without frames; take it out")
    return count


def _open_video(path: Path) -> cv2.VideoCapture:
    _check_readable(path)
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    height, width = (
        int(video.get(side)) for side in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
    )
    if not video.isOpened() or 0 in (height, width):
        raise FrameError(f"{path}: is no video that can be decoded; convert it to MP4 or AVI")
    check_size((height, width), path)
    return video
