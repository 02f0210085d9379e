"""Videos: how many frames they hold, and each by its number."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from nerveceg_tf.data.decode import check_size, to_gray
from nerveceg_tf.data.extent import MAX_FRAMES, Extent, check_readable, no_frame
from nerveceg_tf.errors import FrameError

# The last frame of a video that is cut off is left out, for its lower part would be made up.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "fflags;discardcorrupt")

# At a video's end every attempt fails, and at a damaged frame as many as there are damaged ones.
_ATTEMPTS = 1000
_MATROSKA = b"\x1aE\xdf\xa3"


def extent(path: Path) -> Extent:
    """How many frames a video holds. All are decoded, since its header may lie."""
    video = _open(path)
    declared = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    frames = sum(1 for _ in islice(_frames(video), MAX_FRAMES + 1))
    video.release()
    if not frames:
        raise FrameError(f"{path}: is a video without frames; take it out")
    if declared <= frames:
        return Extent(frames, frames)
    return _without_its_end(path, frames, declared)


class Video:
    """A video whose frames are decoded one after the other; going back starts it again."""

    def __init__(self, path: Path):
        self.path, self._at = path, 0
        self._start()

    def read(self, index: int) -> np.ndarray:
        """Decodes a frame.

        Raises:
            FrameError: it cannot be decoded, whatever may be said of the others.
        """
        if index < self._at:
            self._start()
        whole = next(islice(self._frames, index - self._at, None), None)
        self._at = index + 1
        if whole is None:
            raise no_frame(self.path, index)
        decoded, pixels = self._video.retrieve() if whole else (False, None)
        if not decoded:
            raise FrameError(f"{self.path}: frame {index}: cannot be decoded; export it again")
        return to_gray(pixels, f"{self.path}: frame {index}")

    def _start(self) -> None:
        self._video, self._at = _open(self.path), 0
        self._frames = _frames(self._video)


def frame_rate(path: Path) -> float:
    """Frames a second by the video's own word."""
    video = _open(path)
    rate = video.get(cv2.CAP_PROP_FPS)
    video.release()
    return rate


def _frames(video: cv2.VideoCapture) -> Iterator[bool]:
    """Goes on to the next frame each time, and says whether `retrieve` can give it."""
    failed = 0
    while failed < _ATTEMPTS:
        if not video.grab():
            failed += 1
            continue
        yield from [False] * failed  # damaged ones, since another follows
        failed = 0
        yield True


def _without_its_end(path: Path, frames: int, declared: int) -> Extent:
    """Whether a video's end is missing that decodes to fewer frames than it declares.

    That alone does not say so: the number may be an estimate, some recorders count pictures that
    they dropped, and editors hide frames without removing them. So the time of the last frame that
    the file holds, hidden or not, is held against the time at which it ought to end.
    """
    video = _open(path)
    rate, last = video.get(cv2.CAP_PROP_FPS), 0.0
    video.set(cv2.CAP_PROP_FORMAT, -1)  # as they are in the file, not decoded
    while video.grab():
        last = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
    video.release()
    with path.open("rb") as file:
        # Matroska states no number, only a duration, which may be that of the sound.
        slack = max(1.0, rate / 4) if file.read(4) == _MATROSKA else 0.5
    is_short = 0 < rate < 1000 and last * rate + 1 < declared - slack
    return Extent(frames, declared if is_short else frames)


def _open(path: Path) -> cv2.VideoCapture:
    check_readable(path)
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    height, width = (
        int(video.get(side)) for side in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
    )
    if not video.isOpened() or 0 in (height, width):
        raise FrameError(f"{path}: is no video that can be decoded; convert it to MP4 or AVI")
    check_size((height, width), path)
    return video
