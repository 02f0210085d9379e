"""Finds the levels of a mask that a lossy compression smeared."""

from pathlib import Path

import cv2
import numpy as np

from nerveceg_tf.errors import FrameError

_FLAT = 6  # values of one block without an edge differ by no more
_APART = 20  # values of two levels differ by at least so much in a channel
_MIN_PIXELS = 16
_MIN_CONTRAST = 48
_MAX_BETWEEN = 0.5
_MAX_LEVELS = 16
NEARLY_BLACK = 24
"""Background of a lossy mask has no larger value in any channel."""


def lossy_levels(pixels: np.ndarray, path: Path | str) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """Finds the values or colours that a mask had before a lossy compression.

    JPEG changes values near edges only, by less the farther away. So the levels are the values of
    flat areas. A nerve too small to have a flat area is found by its largest difference from the
    one flat level. Each pixel gets the nearest level.

    Args:
        pixels: uint8 `(height, width)` or `(height, width, 3)`.
        path: the name for error messages.

    Returns:
        The number of each pixel's level, `(height, width)`, and the levels, of 1 or 3 channels.

    Raises:
        FrameError: the values do not lie around a few levels.
    """
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    levels = _flat_levels(pixels)
    if not levels or len(levels) > _MAX_LEVELS:
        raise _unclear(path)
    values = pixels.astype(np.int16)
    if len(levels) == 1:
        farthest = np.abs(values - levels[0]).max(axis=2)
        at = np.unravel_index(int(farthest.argmax()), farthest.shape)
        if farthest[at] < _MIN_CONTRAST:
            if max(levels[0]) <= NEARLY_BLACK and pixels.any():
                raise FrameError(
                    f"{path}: is nearly black, with values up to {pixels.max()}, which a lossy"
                    " picture may have by chance; save the mask as PNG or TIFF"
                )
            return np.zeros(pixels.shape[:2], np.uint8), _as_tuples(levels)
        levels.append(values[at])
    distances = np.stack([np.abs(values - level).max(axis=2) for level in levels])
    numbers = distances.argmin(axis=0).astype(np.uint8)
    nearest = np.sort(distances, axis=0)
    # Half way between two levels there are only the pixels of edges, and few of them.
    between = nearest[0] > nearest[1] / 3
    smallest = min(np.bincount(numbers.ravel(), minlength=len(levels)))
    edges = cv2.morphologyEx((numbers + 1).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((5, 5)))
    if not smallest or between.sum() > _MAX_BETWEEN * max((edges > 0).sum(), smallest):
        raise _unclear(path)
    return numbers, _as_tuples(levels)


def _flat_levels(pixels: np.ndarray) -> list[np.ndarray]:
    """Lists the distinct colours of areas without an edge, the most frequent first."""
    kernel = np.ones((5, 5), np.uint8)
    spread = cv2.subtract(cv2.dilate(pixels, kernel), cv2.erode(pixels, kernel))
    spread = spread.reshape(pixels.shape)
    flat = pixels[(spread <= _FLAT).all(axis=2)].astype(np.int16)
    levels: list[np.ndarray] = []
    while len(flat) >= _MIN_PIXELS and len(levels) <= _MAX_LEVELS:
        colours, counts = np.unique(flat, axis=0, return_counts=True)
        levels.append(colours[counts.argmax()])
        flat = flat[np.abs(flat - levels[-1]).max(axis=1) > _APART]
    return levels


def _as_tuples(levels: list[np.ndarray]) -> list[tuple[int, ...]]:
    return [tuple(level.tolist()) for level in levels]


def _unclear(path: Path | str) -> FrameError:
    return FrameError(
        f"{path}: the values of this lossy picture do not lie around two levels; a mask has 0 and"
        " one other value: threshold it, and save it as PNG or TIFF"
    )
