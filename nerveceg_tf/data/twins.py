"""Frames that show the same scan: shifted by a few pixels, or with another gain, but no more."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import cKDTree

from nerveceg_tf.data.frame import Size, resize

WORKING = (192, 256)
"""Largest height and width at which frames are compared; smaller frames are as they come."""

SAME = 0.98
"""Correlation from which two aligned frames count as one scan. Copies shifted by 3 pixels and
clipped by a gain of 1.1 reach .985; neighbours in a sweep that differ to the eye stay below."""

_GRID = (12, 16)
# Copies as above lie within .36 of each other; the tree looks a little further.
_NEAR = 0.4
_FARTHEST = 0.05  # largest shift, as a share of the width


@dataclass(frozen=True)
class Twins:
    """Two frames of one scan.

    Attributes:
        one: position of the first.
        other: position of the second.
        similarity: correlation of their gray values once aligned, at most 1.
        shift: how far `other` is moved against `one`, down and to the right, as shares of height
            and width.
    """

    one: int
    other: int
    similarity: float
    shift: tuple[float, float]


def working_size(size: Size) -> Size:
    """The size at which a frame of `size` is compared."""
    return min(size[0], WORKING[0]), min(size[1], WORKING[1])


def fingerprint(image: np.ndarray) -> np.ndarray:
    """A frame's coarse look, that shift and gain change little.

    Args:
        image: uint8 `(height, width)`.

    Returns:
        float32 `(192,)` of mean 0 and length 1 (or 0, of a frame of one gray).
    """
    blurred = cv2.GaussianBlur(resize(image, (96, 128)).astype(np.float32), (0, 0), 3)
    coarse = resize(blurred, _GRID).ravel()
    coarse -= coarse.mean()
    return coarse / max(float(np.linalg.norm(coarse)), 1e-6)


def candidates(
    fingerprints: np.ndarray, wanted: Callable[[int, int], bool]
) -> list[tuple[int, int]]:
    """The pairs of frames that can be twins, for `compare` to look at.

    A tree over fingerprints finds them, so that the work grows with the number of like frames and
    not with the square of all.

    Args:
        fingerprints: float32 `(n, 192)`.
        wanted: which pairs of positions are of interest.

    Returns:
        Pairs of positions, the smaller first.
    """
    pairs = cKDTree(fingerprints).query_pairs(_NEAR, output_type="ndarray")
    return [(one, other) for one, other in sorted(map(tuple, pairs.tolist())) if wanted(one, other)]


def compare(a: np.ndarray, b: np.ndarray, one: int = 0, other: int = 1) -> Twins | None:
    """Aligns two frames by phase correlation and compares them pixel by pixel.

    Args:
        a: uint8 frame at its `working_size`.
        b: another.
        one: position of the first, for the result.
        other: position of the second.

    Returns:
        `None` if they are no twins, or of two sizes.
    """
    if a.shape != b.shape:
        return None
    height, width = a.shape
    a, b = a.astype(np.float32), b.astype(np.float32)
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    (dx, dy), _ = cv2.phaseCorrelate(a - a.mean(), b - b.mean(), window)
    if max(abs(dx), abs(dy)) > _FARTHEST * width:
        return None
    margin = height // 12
    inner = (slice(margin, -margin),) * 2
    best = (-1.0, 0.0, 0.0)
    # Whole pixels too: most copies are shifted by such, and halves of one would blur them.
    for x, y in {(dx, dy), (round(dx), round(dy)), (0, 0)}:
        moved = cv2.warpAffine(
            b,
            np.float32([[1, 0, x], [0, 1, y]]),
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        alike = float(cv2.matchTemplate(moved[inner], a[inner], cv2.TM_CCOEFF_NORMED)[0, 0])
        best = max(best, (alike, y, x))
    alike, y, x = best
    return Twins(one, other, alike, (y / height, x / width)) if alike >= SAME else None
