"""The part of a frame that is read, such as the scan area of a DICOM."""

from typing import NamedTuple

import numpy as np

from nerveceg_tf.size import Size


class Window(NamedTuple):
    """A rectangle of a frame, in pixels.

    Attributes:
        top: its first row, from 0.
        left: its first column, from 0.
        height: number of its rows.
        width: number of its columns.
        whole: height and width of the whole frame.

    Example:
        >>> window = Window(top=1, left=2, height=2, width=3, whole=(4, 6))
        >>> pixels = np.arange(24).reshape(4, 6)
        >>> window.crop(pixels)
        array([[ 8,  9, 10],
               [14, 15, 16]])
        >>> window.paste(window.crop(pixels)).shape
        (4, 6)
    """

    top: int
    left: int
    height: int
    width: int
    whole: Size

    @property
    def size(self) -> Size:
        """Height and width of the window."""
        return self.height, self.width

    @property
    def is_inside(self) -> bool:
        """Whether all of the window is in the frame."""
        ends = self.top + self.height, self.left + self.width
        return (
            min(self.top, self.left) >= 0 and ends[0] <= self.whole[0] and ends[1] <= self.whole[1]
        )

    def overlaps(self, other: "Window | None") -> bool:
        """Returns whether it has a pixel in common with another window of the same frame."""
        return other is not None and (
            self.top < other.top + other.height
            and other.top < self.top + self.height
            and self.left < other.left + other.width
            and other.left < self.left + self.width
        )

    def crop(self, pixels: np.ndarray) -> np.ndarray:
        """Returns the pixels in the window.

        Args:
            pixels: any dtype, `(height, width)` of the whole frame.

        Returns:
            A contiguous array of the same dtype, `(height, width)` of the window.
        """
        rows = slice(self.top, self.top + self.height)
        return np.ascontiguousarray(pixels[rows, self.left : self.left + self.width])

    def paste(self, pixels: np.ndarray) -> np.ndarray:
        """Returns a whole frame that is 0 outside of the window.

        Args:
            pixels: any dtype, `(height, width)` of the window.

        Returns:
            An array of the same dtype, `(height, width)` of the whole frame.
        """
        frame = np.zeros(self.whole, pixels.dtype)
        rows = slice(self.top, self.top + self.height)
        frame[rows, self.left : self.left + self.width] = pixels
        return frame

    def count_outside(self, mask: np.ndarray) -> int:
        """Returns the number of pixels of a whole mask that are set outside of the window."""
        return int(np.count_nonzero(mask) - np.count_nonzero(self.crop(mask)))
