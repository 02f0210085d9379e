"""Finds near-duplicates: frames of the same scan that differ by a small shift or by their gain."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import cKDTree
from sklearn.decomposition import PCA

from nerveceg_tf.data.resize import resize
from nerveceg_tf.size import Size

WORKING = (192, 256)
"""Largest height and width at which frames are compared. Smaller frames are not resized."""

SAME = 0.98
"""Minimum correlation of two aligned frames of the same scan. Copies that are shifted by 3 pixels
and clipped by a gain of 1.1 reach .985. Neighbours in a sweep with visible differences stay below.
"""

_LOW = 20  # number of frequencies along each axis in a fingerprint
NEAR_DUPLICATE = 0.22
"""Maximum distance of the fingerprints of two frames of the same scan. It is up to .18 for copies
as above, up to .12 for JPEGs of quality 50, and .43 or more for frames of two persons."""
_TREE_AXES = 24
_MAX_SHIFT = 0.05  # largest shift, as a fraction of the width


@dataclass(frozen=True)
class DuplicatePair:
    """Two frames of the same scan.

    Attributes:
        one: position of the first frame.
        other: position of the second frame.
        similarity: correlation of the gray values after alignment, at most 1.
        shift: shift of `other` relative to `one`, down and to the right, as fractions of the height
            and the width.
    """

    one: int
    other: int
    similarity: float
    shift: tuple[float, float]


def working_size(size: Size) -> Size:
    """Returns the size (height, width) at which a frame of `size` is compared."""
    return min(size[0], WORKING[0]), min(size[1], WORKING[1])


def fingerprint(image: np.ndarray) -> np.ndarray:
    """Computes a fingerprint that a small shift and the gain hardly change.

    It contains the magnitudes of the low frequencies of the image, without their phase.

    Args:
        image: uint8 `(height, width)`, gray 0..255.

    Returns:
        float16 `(780,)`, with mean 0 and norm 1 (norm 0 if the frame has only one gray value).
    """
    small = resize(image, (96, 128)).astype(np.float32)
    window = cv2.createHanningWindow((128, 96), cv2.CV_32F)
    spectrum = np.abs(np.fft.rfft2((small - small.mean()) * window))
    low = np.concatenate([spectrum[:_LOW, :_LOW], spectrum[1 - _LOW :, :_LOW]])
    values = np.sqrt(low).ravel().astype(np.float32)
    values -= values.mean()
    return (values / max(float(np.linalg.norm(values)), 1e-6)).astype(np.float16)


def nearest(fingerprints: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Computes the distance of each frame to its nearest neighbour among known frames.

    Args:
        fingerprints: float16 `(n, 780)`.
        known: float16 `(k, 780)`, k 1 or more.

    Returns:
        float32 `(n,)`, distances 0..2. A frame with only one gray value has a distance of 1.4.
    """
    known = known.astype(np.float32).T
    chunks = np.array_split(fingerprints.astype(np.float32), len(fingerprints) // 1000 + 1)
    cosines = np.concatenate([(chunk @ known).max(1) for chunk in chunks])
    return np.sqrt(np.maximum(2 - 2 * cosines, 0))


def candidates(
    fingerprints: np.ndarray, is_relevant: Callable[[int, int], bool]
) -> list[tuple[int, int]]:
    """Lists the pairs of frames that may be near-duplicates. `compare` decides.

    The search uses a k-d tree over the principal components. The distance there is never larger
    than the full distance, so no pair is missed. The time depends on the number of similar frames,
    not on the number of all pairs.

    Args:
        fingerprints: float `(n, 780)`.
        is_relevant: is called with two positions; pairs for which it returns `False` are skipped.

    Returns:
        Pairs of positions, 0..n-1, the smaller first.
    """
    fingerprints = fingerprints.astype(np.float32)
    axes = min(_TREE_AXES, *fingerprints.shape)
    tree = cKDTree(PCA(axes, random_state=0).fit_transform(fingerprints))
    pairs = tree.query_pairs(NEAR_DUPLICATE, output_type="ndarray")
    close: list[tuple[int, int]] = []
    for chunk in np.array_split(pairs, len(pairs) // 10_000 + 1):
        distances = np.linalg.norm(fingerprints[chunk[:, 0]] - fingerprints[chunk[:, 1]], axis=1)
        close += [(one, other) for one, other in chunk[distances <= NEAR_DUPLICATE].tolist()]
    return [(one, other) for one, other in sorted(close) if is_relevant(one, other)]


def compare(a: np.ndarray, b: np.ndarray, one: int = 0, other: int = 1) -> DuplicatePair | None:
    """Aligns two frames by phase correlation and compares them pixel by pixel.

    Args:
        a: uint8 `(height, width)`, a frame at its `working_size`.
        b: uint8 `(height, width)`, another frame.
        one: position of the first frame, for the result.
        other: position of the second frame, for the result.

    Returns:
        The pair; `None` if the frames are not near-duplicates, or differ in size.
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
    # Also try whole pixels: most copies are shifted by whole pixels, and interpolation blurs.
    for x, y in {(dx, dy), (round(dx), round(dy)), (0, 0)}:
        moved = cv2.warpAffine(
            b,
            np.array([[1, 0, x], [0, 1, y]], np.float32),
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        similarity = float(cv2.matchTemplate(moved[inner], a[inner], cv2.TM_CCOEFF_NORMED)[0, 0])
        best = max(best, (similarity, y, x))
    similarity, y, x = best
    if similarity < SAME:
        return None
    return DuplicatePair(one, other, similarity, (y / height, x / width))
