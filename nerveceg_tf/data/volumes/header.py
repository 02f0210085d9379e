"""What the header of a volume says about its pixels."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from nerveceg_tf.data.stills.decode import check_size
from nerveceg_tf.errors import FrameError


class VolumeHeader(NamedTuple):
    """How a volume stores its frames, one after the other and row by row.

    Attributes:
        sizes: width and height in pixels, and the lengths of the other axes.
        channels: values per pixel: 1, or 3 or 4 of a colour.
        dtype: type of a value, with its byte order.
        pixels: the file with the pixels.
        begin: offset of the first pixel in bytes: in `pixels`, or, if that is compressed with gzip,
            in its content.
        compression: how the bytes from there are compressed: `"gzip"` the whole file, `"zlib"` only
            the pixels.
        spacing: distance of pixels (down, right) in millimetres; `None` if it is not stated.
        slope: a gray value is `slope * stored value + intercept`.
        intercept: see `slope`.
        planar: the file has all frames of one colour, then those of the next.
    """

    sizes: tuple[int, ...]
    channels: int
    dtype: np.dtype
    pixels: Path
    begin: int
    compression: Literal["gzip", "zlib"] | None = None
    spacing: tuple[float, float] | None = None
    slope: float = 1.0
    intercept: float = 0.0
    planar: bool = False

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """`(height, width)`, or `(height, width, channels)`."""
        width, height = self.sizes[:2]
        return (height, width) if self.channels == 1 else (height, width, self.channels)

    @property
    def frame_length(self) -> int:
        """The length of a frame in bytes."""
        width, height = self.sizes[:2]
        return height * width * self.channels * self.dtype.itemsize

    @property
    def frames(self) -> int:
        """The number of frames."""
        return max(self.sizes[2:], default=1)

    def check(self, path: Path) -> "VolumeHeader":
        """Checks that the header describes a frame or a cine.

        Args:
            path: the name for error messages.

        Returns:
            The same header.

        Raises:
            FrameError: it has other axes or channels, or its frames are too small or too large.
        """
        if len(self.sizes) < 2 or min(self.sizes) < 1 or self.begin < 0:
            raise FrameError(f"{path}: its header is damaged; copy it again, or remove it")
        check_size((self.sizes[1], self.sizes[0]), path)
        if len([size for size in self.sizes[2:] if size > 1]) > 1:
            raise FrameError(
                f"{path}: has {len(self.sizes)} axes ({'x'.join(map(str, self.sizes))}); a cine has"
                " height, width and one other: save each volume in a file of its own"
            )
        if self.channels not in (1, 3, 4):
            raise FrameError(
                f"{path}: has {self.channels} values per pixel; save it as gray, or as RGB"
            )
        return self


def known_spacing(right: float, down: float) -> tuple[float, float] | None:
    """Returns the spacing (down, right) in millimetres, or `None` if it is not stated.

    Writers that are told no spacing write 1 mm, which no ultrasound scanner has.
    """
    are_lengths = all(0 < length < np.inf for length in (right, down))
    return (down, right) if are_lengths and (right, down) != (1, 1) else None
