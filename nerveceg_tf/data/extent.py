"""The number of frames in a cine, and the warnings and errors about it."""

from pathlib import Path
from typing import NamedTuple

from nerveceg_tf.errors import FrameError
from nerveceg_tf.utils.once import warn_once

MAX_FRAMES = 100_000


class Extent(NamedTuple):
    """The number of frames in a file.

    Attributes:
        frames: number of frames up to the last complete one. Frames before that may be damaged.
        declared: number of frames that the file declares; more than `frames` if the file is
            truncated.
        or_more: the file is truncated where it would declare more frames.
    """

    frames: int
    declared: int
    or_more: bool = False

    @property
    def truncated(self) -> bool:
        """Whether the end of the file is missing."""
        return self.frames < self.declared


def check_readable(path: Path) -> None:
    """Checks that a file can be opened.

    Raises:
        FrameError: the file is missing, or cannot be read.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from None


def missing_frame(path: Path, index: int) -> FrameError:
    """Returns the error for a frame number beyond the last frame of a file."""
    return FrameError(f"{path}: has no frame {index}")


def warn_if_truncated(path: Path, extent: Extent) -> None:
    """Warns that a file is truncated, once per file, even if the file is listed several times."""
    if extent.truncated:
        more = " or more" if extent.or_more else ""
        message = (
            f"{path}: is truncated: it declares {extent.declared} frames{more}, but only"
            f" {extent.frames} can be decoded; the others are skipped; copy the file again"
        )
        warn_once(message, message, stacklevel=3)
