"""How a stage sees a frame, for training frames and exports. Needs NumPy and OpenCV only.

The layers in `nerveceg_tf.models.stage_settings.FRAMINGS` compute the same inside a model.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from nerveceg_tf.data.resize import resize
from nerveceg_tf.size import Size
from nerveceg_tf.utils.black_borders import BLACK, SHARE


def crop(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Cuts a window from the middle of a frame, at native scale. What lies outside of it is 0.

    Where an even and an odd length meet, the window is half a pixel nearer to the first row or
    column. A second crop to the earlier size puts every pixel back to its place.

    Args:
        pixels: any dtype, `(height, width)`.
        size: height and width of the window in pixels.

    Returns:
        An array of `size` and of the same dtype.

    Example:
        >>> crop(np.arange(12).reshape(3, 4), (1, 2))
        array([[5, 6]])
        >>> crop(np.array([[5, 6]]), (1, 4))
        array([[0, 5, 6, 0]])
    """
    surplus, lack = (
        [max(sign * (old - new), 0) for old, new in zip(pixels.shape, size, strict=True)]
        for sign in (1, -1)
    )
    kept = (slice(s // 2, s // 2 + n - s) for s, n in zip(surplus, pixels.shape, strict=True))
    return np.pad(pixels[tuple(kept)], [(n // 2, n - n // 2) for n in lack])


def letterbox(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Scales a frame by one factor until it fits a size. The rest of it is 0.

    The frame lies in the middle, or half a pixel nearer to the first row or column.

    Args:
        pixels: uint8 or float32 `(height, width)`.
        size: height and width of the result in pixels.

    Returns:
        An array of `size` and of the same dtype.

    Example:
        >>> letterbox(np.full((1, 2), 5, np.uint8), (4, 2))
        array([[0, 0],
               [5, 5],
               [0, 0],
               [0, 0]], dtype=uint8)
    """
    inner = fitted(pixels.shape, size)
    lacks = (whole - part for whole, part in zip(size, inner, strict=True))
    return np.pad(resize(pixels, inner), [(lack // 2, lack - lack // 2) for lack in lacks])


def letterbox_back(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Brings a map of a letterboxed frame to the size that the frame had.

    Args:
        pixels: float32 `(height, width)`.
        size: height and width of the frame before, in pixels.

    Returns:
        float32, of `size`.

    Example:
        >>> letterbox_back(letterbox(np.full((1, 2), 5, np.float32), (4, 2)), (1, 2))
        array([[5., 5.]], dtype=float32)
    """
    return resize(crop(pixels, fitted(size, pixels.shape)), size)


def fitted(frame: Sequence[int], size: Sequence[int]) -> Size:
    """Height and width that a frame has in a letterbox.

    One side is that of the letterbox. The other one is scaled by the same factor and rounded to
    whole pixels, halves upwards, and at least 1.

    Args:
        frame: height and width of the frame in pixels.
        size: height and width of the letterbox in pixels.

    Example:
        >>> fitted((420, 580), (192, 256))
        (185, 256)
    """
    (height, width), (most_rows, most_columns) = frame, size
    rows = (2 * height * most_columns + width) // (2 * width)
    columns = (2 * width * most_rows + height) // (2 * height)
    return min(most_rows, max(1, rows)), min(most_columns, max(1, columns))


def content_bounds(frame: np.ndarray) -> tuple[slice, slice]:
    """The part of a frame that is not border: its rows and columns from the first to the last one
    in which 2% of the pixels or more are brighter than 8.

    So noise in black and single bright specks are border. A frame without such rows or without such
    columns has no borders.

    Args:
        frame: gray 0..255, `(height, width)`.

    Example:
        >>> content_bounds(np.pad(np.full((3, 5), 99), [(1, 0), (2, 1)]))
        (slice(1, 4, None), slice(2, 7, None))
    """
    bright = frame > BLACK
    counting = (
        np.flatnonzero(bright.sum(across) * SHARE >= frame.shape[across]) for across in (1, 0)
    )
    rows, columns = counting
    if not (rows.size and columns.size):
        return slice(0, frame.shape[0]), slice(0, frame.shape[1])
    top, bottom, left, right = (int(x) for x in (rows[0], rows[-1], columns[0], columns[-1]))
    return slice(top, bottom + 1), slice(left, right + 1)


def content(pixels: np.ndarray, size: Size, frame: np.ndarray | None = None) -> np.ndarray:
    """Cuts black borders off a frame, and letterboxes what is left.

    Args:
        pixels: uint8 or float32 `(height, width)`.
        size: height and width of the result in pixels.
        frame: the frame whose borders are cut, if `pixels` are its mask.

    Returns:
        An array of `size` and of the same dtype.

    Example:
        >>> content(np.array([[0, 7, 99, 99]], np.uint8), (1, 2))
        array([[99, 99]], dtype=uint8)
    """
    return letterbox(pixels[content_bounds(pixels if frame is None else frame)], size)


def content_back(pixels: np.ndarray, size: Size, frame: np.ndarray) -> np.ndarray:
    """Brings a map of what `content` makes of a frame to the place that it has in the frame.

    Args:
        pixels: float32 `(height, width)`.
        size: height and width of the frame in pixels.
        frame: the frame.

    Returns:
        float32, of `size`. It is 0 in the borders.

    Example:
        >>> content_back(np.ones((1, 2), np.float32), (1, 4), np.array([[0, 7, 99, 99]]))
        array([[0., 0., 1., 1.]], dtype=float32)
    """
    rows, columns = content_bounds(frame)
    whole = np.zeros(size, pixels.dtype)
    inner = rows.stop - rows.start, columns.stop - columns.start
    whole[rows, columns] = letterbox_back(pixels, inner)
    return whole


TO_INPUT: dict[str, Callable[..., np.ndarray]] = {
    "resize": resize,
    "crop": crop,
    "letterbox": letterbox,
    "content": content,
}
"""By the name of a framing: from the pixels of a frame and a size to the input of a stage."""

TO_FRAME: dict[str, Callable[..., np.ndarray]] = {
    "resize": resize,
    "crop": crop,
    "letterbox": letterbox_back,
    "content": content_back,
}
"""By the name of a framing: from a mask, and the size of its frame, to a mask of that size. One of
`CUTTING` takes the frame too."""

CUTTING = ("content",)
"""The framings that show a part of a frame that depends on its pixels."""


def to_input_of(framing: str, frame: np.ndarray) -> Callable[[np.ndarray, Size], np.ndarray]:
    """How a framing brings a frame, and its mask, to an input.

    Args:
        framing: its name.
        frame: gray 0..255, `(height, width)`.

    Returns:
        A function of pixels `(height, width)` and a size.
    """
    function = TO_INPUT[framing]
    return partial(function, frame=frame) if framing in CUTTING else function
