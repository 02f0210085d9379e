"""Video: counts and decodes the frames of a file."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from nerveceg_tf.data.decode import check_size, to_gray
from nerveceg_tf.data.extent import MAX_FRAMES, Extent, check_readable, missing_frame
from nerveceg_tf.data.names import is_unicode
from nerveceg_tf.errors import FrameError

# Skip the last frame of a truncated video: the decoder would invent its lower part.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "fflags;discardcorrupt")

# Reading fails once for each damaged frame, and always at the end of the video. After this many
# failures in a row, the video is assumed to be at its end.
_ATTEMPTS = 1000
_MATROSKA = b"\x1aE\xdf\xa3"


def extent(path: Path) -> Extent:
    """Counts the frames of a video. All frames are read, because the header may be wrong."""
    video = _open(path)
    declared = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    frames = sum(1 for _ in islice(_frames(video), MAX_FRAMES + 1))
    video.release()
    if not frames:
        raise FrameError(f"{path}: is a video without frames; remove it")
    if declared <= frames:
        return Extent(frames, frames)
    return _check_truncation(path, frames, declared)


class Video:
    """A video whose frames are decoded in order. To go back, it is decoded from the start again.

    Args:
        path: the file.

    Raises:
        FrameError: the file cannot be read.
    """

    def __init__(self, path: Path):
        self.path, self._next = path, 0
        self._start()

    def read(self, index: int) -> np.ndarray:
        """Decodes one frame.

        Args:
            index: number of the frame, from 0.

        Returns:
            uint8 gray `(height, width)`, 0..255.

        Raises:
            FrameError: this frame cannot be decoded, or does not exist.
        """
        if index < self._next:
            self._start()
        intact = next(islice(self._frames, index - self._next, None), None)
        self._next = index + 1
        if intact is None:
            raise missing_frame(self.path, index)
        decoded, pixels = self._video.retrieve() if intact else (False, None)
        if not decoded or pixels is None:
            raise FrameError(f"{self.path}: frame {index}: cannot be decoded; export it again")
        return to_gray(pixels, f"{self.path}: frame {index}")

    def _start(self) -> None:
        self._video, self._next = _open(self.path), 0
        self._frames = _frames(self._video)


def frame_rate(path: Path) -> float:
    """Returns the frame rate that the video declares, in frames per second."""
    video = _open(path)
    rate = video.get(cv2.CAP_PROP_FPS)
    video.release()
    return rate


def _frames(video: cv2.VideoCapture) -> Iterator[bool]:
    """Advances to the next frame in each step and yields whether `retrieve` can decode it."""
    failed = 0
    while failed < _ATTEMPTS:
        if not video.grab():
            failed += 1
            continue
        yield from [False] * failed  # damaged frames, because a good one follows
        failed = 0
        yield True


def _check_truncation(path: Path, frames: int, declared: int) -> Extent:
    """Decides whether a video that has fewer frames than it declares is truncated.

    The lower count alone does not prove it. The declared number may be an estimate, some recorders
    count frames that they dropped, and editors hide frames without removing them. Therefore the
    time of the last frame in the file, hidden or not, is compared with the expected end time.
    """
    video = _open(path)
    rate, last = video.get(cv2.CAP_PROP_FPS), 0.0
    video.set(cv2.CAP_PROP_FORMAT, -1)  # raw packets, not decoded frames
    while video.grab():
        last = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
    video.release()
    with path.open("rb") as file:
        # Matroska declares a duration instead of a number, possibly the duration of the sound.
        slack = max(1.0, rate / 4) if file.read(4) == _MATROSKA else 0.5
    is_short = 0 < rate < 1000 and last * rate + 1 < declared - slack
    return Extent(frames, declared if is_short else frames)


def _open(path: Path) -> cv2.VideoCapture:
    check_readable(path)
    if not is_unicode(path):  # OpenCV would crash
        raise FrameError(f"{path}: the name of a video must be valid UTF-8; rename it")
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    height, width = (
        int(video.get(side)) for side in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
    )
    if not video.isOpened() or 0 in (height, width):
        raise FrameError(f"{path}: is not a video that can be decoded; convert it to MP4 or AVI")
    check_size((height, width), path)
    return video
