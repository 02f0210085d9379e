"""Video: counts and decodes the frames of a file."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from threading import Lock

import cv2
import numpy as np

from nerveceg_tf.data.extent import MAX_FRAMES, Extent, missing_frame
from nerveceg_tf.data.folders.names import is_unicode
from nerveceg_tf.data.formats import describe_other, read_head
from nerveceg_tf.data.stills.decode import check_size, to_gray
from nerveceg_tf.data.videos.container import (
    animation_frames,
    begins_with_length,
    counts_frames,
    is_cut_off,
)
from nerveceg_tf.errors import FrameError

# FFmpeg would open playlists, reference movies and series of pictures, which name other files, and
# would draw text as pictures. Therefore only these kinds of one file are allowed.
_ALLOWED = (
    "mov,avi,asf,matroska,mpeg,mpegvideo,m4v,h264,hevc,mpegts,flv,ogg,gif,apng,nut,swf,wtv,ivf,mxf,"
    "rm,yuv4mpegpipe,dhav,dv,mjpeg"
)
_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# Skip the last frame of a truncated video: the decoder would invent its lower part.
os.environ.setdefault(
    _VARIABLE, f"fflags;discardcorrupt|protocol_whitelist;file|format_whitelist;{_ALLOWED}"
)
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet: errors are raised instead
_opening = Lock()

# Reading fails once for each damaged frame, and always at the end of the video. After this many
# failures in a row, the video is assumed to be at its end.
_ATTEMPTS = 1000
_MPEG = b"\0\0\x01\xba"


def extent(path: Path) -> Extent:
    """Counts the frames of a video. All frames are read, because the header may be wrong."""
    head = read_head(path)
    with _opened(path) as video:
        rate = video.get(cv2.CAP_PROP_FPS)
        declared = animation_frames(head) or int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        codec = int(video.get(cv2.CAP_PROP_FOURCC)) % 2**32
        frames, end = 0, 0
        for _ in islice(_frames(video, path), MAX_FRAMES + 1):
            frames, end = frames + 1, max(end, _time(video))
    packets = _packet_times(path)
    if not frames:
        raise _undecodable(path, codec) if packets else _no_frames(path)
    is_short = is_cut_off(path)
    if frames < declared <= MAX_FRAMES and (is_short or _lacks(path, declared, packets, rate)):
        return Extent(frames, declared)
    if _has_damaged_end(path, frames, end, packets):
        return Extent(frames, len(packets))
    # Where the number is declared, it shows that only the index after the frames is missing.
    is_short &= not (declared > 0 and begins_with_length(head))
    return Extent(frames, frames + is_short, or_more=is_short)


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
        self._frames = _frames(self._video, self.path)


def frame_rate(path: Path) -> float:
    """Returns the frame rate that the video declares, in frames per second."""
    with _opened(path) as video:
        return video.get(cv2.CAP_PROP_FPS)


def _frames(video: cv2.VideoCapture, path: Path) -> Iterator[bool]:
    """Advances to the next frame in each step and yields whether `retrieve` can decode it."""
    failed, attempts, latest = 0, 0, -1
    packets: list[int] = []
    while attempts < _ATTEMPTS:
        if not video.grab():
            attempts += 1
            continue
        failed += attempts  # damaged frames, because a good one follows
        attempts, time = 0, _time(video)
        if failed:
            # A decoder that reads some frames ahead meets damage before it gives the good frames
            # that precede the damaged one. Their times tell where that belongs.
            packets = packets or _packet_times(path)
            between = sum(latest < at < time for at in packets)
            damaged = min(failed, between) if time > latest else failed
            yield from [False] * damaged
            failed -= damaged
        latest = time
        yield True
    yield from [False] * failed


def _time(video: cv2.VideoCapture) -> int:
    """The time of the current frame or packet in whole milliseconds."""
    return round(video.get(cv2.CAP_PROP_POS_MSEC))


def _packet_times(path: Path) -> list[int]:
    """Returns the time of each encoded frame in a video; some may be damaged or hidden."""
    times: list[int] = []
    with _opened(path) as video:
        video.set(cv2.CAP_PROP_FORMAT, -1)  # raw packets, not decoded frames
        while len(times) <= MAX_FRAMES and video.grab():
            packet = video.retrieve()[1]
            if packet is not None and packet.size:  # empty: the recorder dropped the frame
                times.append(_time(video))
    return times


def _lacks(path: Path, declared: int, packets: list[int], rate: float) -> bool:
    """Decides whether a video that has fewer frames than it declares is truncated.

    The lower count alone does not prove it. The declared number may be an estimate, some recorders
    count frames that they dropped, and editors hide frames without removing them. Therefore the
    time of the last frame in the file, hidden or not, is compared with the expected end time.
    """
    # Others declare a duration instead of a number, possibly the duration of the sound.
    slack = 0.5 if counts_frames(read_head(path)) else max(2.5, rate / 4)
    end = max(packets, default=0) / 1000
    return 0 < rate < 1000 and end * rate + 1 < declared - slack


def _has_damaged_end(path: Path, frames: int, end: int, packets: list[int]) -> bool:
    """Decides whether the last encoded frames of a video are in the file, but cannot be decoded.

    The lower count alone does not prove it. The first frames of a recorded broadcast need others
    that are missing, and some codecs have frames that are not shown. Neither is at the end.
    """
    last = max(packets, default=0)
    if len(packets) <= frames or (last > 0 and last < end + last / len(packets) / 2):
        return False
    with _opened(path, show_hidden=True) as video:
        return sum(1 for _ in islice(_frames(video, path), frames + 1)) <= frames


def _undecodable(path: Path, codec: int) -> FrameError:
    name = codec.to_bytes(4, "little").decode("ascii", "replace")
    return FrameError(
        f"{path}: is a video that cannot be decoded{f' (codec {name})' if name.isalnum() else ''}:"
        " it is damaged, or OpenCV lacks the codec; copy it again, or convert it to MP4 with H.264"
    )


def _no_frames(path: Path) -> FrameError:
    return FrameError(
        f"{path}: is a video without frames, or is damaged; copy it again, or remove it"
    )


@contextmanager
def _opened(path: Path, show_hidden: bool = False) -> Iterator[cv2.VideoCapture]:
    video = _open(path, show_hidden)
    try:
        yield video
    finally:
        video.release()


def _open(path: Path, show_hidden: bool = False) -> cv2.VideoCapture:
    """Opens a video.

    Args:
        path: the file.
        show_hidden: decode also the frames that an editor hid in an MP4 or MOV.

    Raises:
        FrameError: the file cannot be read, or is not a video that OpenCV decodes.
    """
    if not is_unicode(path):  # OpenCV would crash
        raise FrameError(f"{path}: the name of a video must be valid UTF-8; rename it")
    head = read_head(path)
    if not head:
        raise FrameError(f"{path}: the file is empty; copy it again")
    if other := describe_other(head):
        raise FrameError(f"{path}: is {other}, not a video; convert it to MP4, or remove it")
    if not _is_unicode(path):  # OpenCV would crash
        raise FrameError(f"{path}: the name of a video must be valid UTF-8; rename it")
    options = ["ignore_editlist;1"] if show_hidden else []
    if head.startswith(_MPEG):  # FFmpeg believes the suffix of the name more than this mark
        options.append("input_format;mpeg")
    video = _capture(path, options)
    height, width = (
        int(video.get(side)) for side in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
    )
    if not video.isOpened() or 0 in (height, width):
        raise FrameError(
            f"{path}: is not a video that can be decoded, or is truncated or damaged; copy it"
            " again, or convert it to MP4 with H.264"
        )
    check_size((height, width), path)
    return video


def _is_unicode(path: Path) -> bool:
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        return False
    return True


def _capture(path: Path, options: Sequence[str]) -> cv2.VideoCapture:
    with _opening:  # OpenCV takes options of FFmpeg from the environment only
        usual = os.environ.get(_VARIABLE, "")
        if options:
            os.environ[_VARIABLE] = "|".join(filter(None, [usual, *options]))
        try:
            # An absolute path, because a relative one may look like a network address.
            return cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
        finally:
            if options:
                os.environ[_VARIABLE] = usual
