"""Frames that show the same scan: shifted by a few pixels, or with another gain, but no more."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import cKDTree
from sklearn.decomposition import PCA

from nerveceg_tf.data.resize import resize
from nerveceg_tf.size import Size

WORKING = (192, 256)
"""Largest height and width at which frames are compared; smaller frames are as they come."""

SAME = 0.98
"""Correlation from which two aligned frames count as one scan. Copies shifted by 3 pixels and
clipped by a gain of 1.1 reach .985; neighbours in a sweep that differ to the eye stay below."""

_LOW = 20  # frequencies along each axis that a fingerprint keeps
NEAR_DUPLICATE = 0.22
"""Distance of fingerprints up to which two frames can show one scan. Copies as above are within .18
of each other, JPEGs of quality 50 within .12; frames of two persons are .43 apart and more."""
_TREE_AXES = 24
_MAX_SHIFT = 0.05  # largest shift, as a share of the width


@dataclass(frozen=True)
class DuplicatePair:
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
    """The low part of a frame's spectrum, without phase: shift and gain hardly change it.

    Args:
        image: uint8 `(height, width)`.

    Returns:
        float16 `(780,)` of mean 0 and length 1 (or 0, of a frame of one gray).
    """
    small = resize(image, (96, 128)).astype(np.float32)
    window = cv2.createHanningWindow((128, 96), cv2.CV_32F)
    spectrum = np.abs(np.fft.rfft2((small - small.mean()) * window))
    low = np.concatenate([spectrum[:_LOW, :_LOW], spectrum[1 - _LOW :, :_LOW]])
    values = np.sqrt(low).ravel().astype(np.float32)
    values -= values.mean()
    return (values / max(float(np.linalg.norm(values)), 1e-6)).astype(np.float16)


def nearest(fingerprints: np.ndarray, known: np.ndarray) -> np.ndarray:
    """How far each frame is from the known frame that is most like it.

    Args:
        fingerprints: float16 `(n, 780)`.
        known: float16 `(k, 780)`, k at least 1.

    Returns:
        Distances, float32 `(n,)`, 0..2; a frame of one gray is 1.4 away from every other.
    """
    known = known.astype(np.float32).T
    chunks = np.array_split(fingerprints.astype(np.float32), len(fingerprints) // 1000 + 1)
    cosines = np.concatenate([(some @ known).max(1) for some in chunks])
    return np.sqrt(np.maximum(2 - 2 * cosines, 0))


def candidates(
    fingerprints: np.ndarray, wanted: Callable[[int, int], bool]
) -> list[tuple[int, int]]:
    """The pairs of frames that can be twins, for `compare` to look at.

    A tree over their main axes finds them, where two are never farther apart than in all axes, so
    that the work grows with the number of like frames and not with the square of all.

    Args:
        fingerprints: float32 `(n, 780)`.
        wanted: which pairs of positions are of interest.

    Returns:
        Pairs of positions, the smaller first.
    """
    fingerprints = fingerprints.astype(np.float32)
    axes = min(_TREE_AXES, *fingerprints.shape)
    tree = cKDTree(PCA(axes, random_state=0).fit_transform(fingerprints))
    pairs = tree.query_pairs(NEAR_DUPLICATE, output_type="ndarray")
    kept = []
    for some in np.array_split(pairs, len(pairs) // 10_000 + 1):
        apart = np.linalg.norm(fingerprints[some[:, 0]] - fingerprints[some[:, 1]], axis=1)
        kept += map(tuple, some[apart <= NEAR_DUPLICATE].tolist())
    return [(one, other) for one, other in sorted(kept) if wanted(one, other)]


def compare(a: np.ndarray, b: np.ndarray, one: int = 0, other: int = 1) -> DuplicatePair | None:
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
    if max(abs(dx), abs(dy)) > _MAX_SHIFT * width:
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
    return DuplicatePair(one, other, alike, (y / height, x / width)) if alike >= SAME else None
