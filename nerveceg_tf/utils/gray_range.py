"""Recognises frames of another range than the gray values 0..255 that models take."""

import warnings
from typing import Any

import numpy as np

from nerveceg_tf.errors import NervecegWarning


def range_warning(frames: np.ndarray) -> str | None:
    """Returns a warning about a frame that cannot have gray values 0..255.

    The largest value of a frame that is not all zero is at most 1, or above 255; or a value is
    below 0.

    Args:
        frames: numbers `(batch, height, width, 1)`, or one frame `(height, width)`.

    Returns:
        One line in ASCII; `None` if all frames may have gray values 0..255.

    Example:
        >>> range_warning(np.full((1, 4, 4, 1), 0.5)).split(":")[0]
        'a frame has no value above 0.5'
        >>> range_warning(np.zeros((1, 4, 4, 1))) is None
        True
    """
    if frames.dtype.kind not in "uif" or not frames.size:
        return None
    each = frames.reshape(len(frames) if frames.ndim == 4 else 1, -1)
    largest = each.max(axis=1)
    for position in np.flatnonzero(largest <= 1):
        if each[position].any():
            return (
                f"a frame has no value above {largest[position]:.3g}: models take gray values"
                " 0..255; multiply values 0..1 by 255"
            )
    smallest = 0 if frames.dtype.kind == "u" else each.min()
    if largest.max() > 255 or smallest < 0:
        return (
            f"a frame has values {smallest:.4g} to {largest.max():.5g}: models take gray values"
            " 0..255; scale them"
        )
    return None


class RangeNote:
    """Warns once about frames of another range than gray values 0..255.

    Example:
        >>> note = RangeNote()
        >>> note.check(np.full((4, 4), 200.0))
    """

    def __init__(self) -> None:
        self._said = False

    def check(self, frames: Any, stacklevel: int = 1) -> None:
        """Warns if an array has such a frame; ignores what is no array.

        Args:
            frames: as for `range_warning`, or anything else.
            stacklevel: as for `warnings.warn`, counted from the caller.
        """
        if not self._said and isinstance(frames, np.ndarray):
            self.say(range_warning(frames), stacklevel + 1)

    def say(self, text: Any, stacklevel: int = 1) -> None:
        """Warns with a text, unless it is no text, or this object has warned before."""
        if isinstance(text, str) and text and not self._said:
            self._said = True
            warnings.warn(text, NervecegWarning, stacklevel=stacklevel + 1)
