"""How many frames a file of several holds, and what is said where that goes wrong."""

import warnings
from functools import cache
from pathlib import Path
from typing import NamedTuple

from nerveceg_tf.errors import FrameError, NervecegWarning

MAX_FRAMES = 100_000


class Extent(NamedTuple):
    """A file's frames.

    Attributes:
        frames: how many can be reached, up to the last that is whole. Those between may be damaged.
        declared: how many there are by the file's own word; more, if its end is missing.
        or_more: the file's word on what follows is missing too.
    """

    frames: int
    declared: int
    or_more: bool = False

    @property
    def cut_off(self) -> bool:
        """Whether the file's end is missing."""
        return self.frames < self.declared


def check_readable(path: Path) -> None:
    """Raises:
    FrameError: the file is missing, or may not be read.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from None


def no_frame(path: Path, index: int) -> FrameError:
    """The error of a frame behind a file's last."""
    return FrameError(f"{path}: has no frame {index}")


def note_if_cut_off(path: Path, extent: Extent) -> None:
    """Says once of each file that its end is missing, however often it is listed."""
    if extent.cut_off:
        more = " or more" if extent.or_more else ""
        _note(
            f"{path}: is cut off: it declares {extent.declared} frames{more}, of which"
            f" {extent.frames} can be decoded; the others are left out; fetch it again"
        )


@cache
def _note(message: str) -> None:
    warnings.warn(message, NervecegWarning, stacklevel=4)
