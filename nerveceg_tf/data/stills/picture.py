"""The samples of a still image as its file stores them, before they become gray or a mask."""

from typing import NamedTuple

import cv2
import numpy as np


class Picture(NamedTuple):
    """The samples of one still image, upright.

    Attributes:
        pixels: gray `(height, width)`, colours `(height, width, 3)` in the order red, green, blue,
            or the indices of a palette `(height, width)`. Any integer or float type. Black is 0.
        bits: bits per sample in the file, such as 1, 8 or 16.
        white: the largest value that the file declares for its gray values, such as 4095; `None` if
            it declares none.
        palette: uint8 `(n, 3)`, the colours of the indices; `None` if the pixels are no indices.
        alpha: opacity `(height, width)` in the type of the pixels; `None` if there is none.
        premultiplied: colours are multiplied by the opacity.
        lossy: the file was compressed with loss, so values near each other may be one value.
        white_is_zero: the file stores gray the other way round, and the pixels were inverted.
    """

    pixels: np.ndarray
    bits: int = 8
    white: int | None = None
    palette: np.ndarray | None = None
    alpha: np.ndarray | None = None
    premultiplied: bool = False
    lossy: bool = False
    white_is_zero: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the pixels are 8-bit gray already."""
        return (
            self.pixels.ndim == 2
            and self.bits == 8
            and self.palette is None
            and self.alpha is None
            and self.pixels.dtype == np.uint8
        )

    def upright(self, orientation: int) -> "Picture":
        """Returns the picture as its orientation tag, 1..8, wants it to be shown."""
        if orientation not in _TURNS:
            return self
        turned = [None if x is None else _turn(x, orientation) for x in (self.pixels, self.alpha)]
        assert turned[0] is not None
        return self._replace(pixels=turned[0], alpha=turned[1])


# For each orientation of EXIF: whether rows and columns are swapped first, and the mirrored axes.
_TURNS: dict[int, tuple[bool, tuple[int, ...]]] = {
    2: (False, (1,)),
    3: (False, (0, 1)),
    4: (False, (0,)),
    5: (True, ()),
    6: (True, (1,)),
    7: (True, (0, 1)),
    8: (True, (0,)),
}


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    swapped, mirrored = _TURNS[orientation]
    if swapped:
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(np.flip(pixels, mirrored))


def is_constant(pixels: np.ndarray) -> bool:
    """Returns whether all pixels `(height, width, …)` have one value or colour."""
    return bool((pixels == pixels[:1, :1]).all())


def luma(colours: np.ndarray) -> np.ndarray:
    """Converts uint8 colours `(height, width, 3)`, red first, to gray as a viewer shows them."""
    return cv2.cvtColor(np.ascontiguousarray(colours), cv2.COLOR_RGB2GRAY)
