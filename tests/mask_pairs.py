"""Pairs of masks on which outlines are compared, made of the bundled masks in known ways."""

from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion

MASKS = Path(__file__).parents[1] / "nerveceg_tf" / "data" / "samples" / "train"


def bundled_masks() -> list[np.ndarray]:
    """The bundled masks that hold a nerve, bool `(height, width)`, by name."""
    files = sorted(MASKS.glob("*_mask.tif"))
    masks = [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) > 0 for file in files]
    return [mask for mask in masks if mask.any()]


def mask_pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By what was done: a true mask and a drawn one, of one size."""
    masks = bundled_masks()
    a, b, c, d, e, f, g, h = masks[:: len(masks) // 8][:8]
    height, width = a.shape
    random = np.random.default_rng(0)
    empty, full = np.zeros_like(a), np.ones_like(a)

    def moved(mask, down, right):
        return cv2.warpAffine(
            mask.astype(np.uint8), np.float32([[1, 0, right], [0, 1, down]]), (width, height)
        ).astype(bool)

    def box(top, left, tall, wide):
        mask = empty.copy()
        mask[top : top + tall, left : left + wide] = True
        return mask

    def middle(mask):
        return tuple(int(np.median(axis)) for axis in np.nonzero(mask))

    def holed(mask, reach):
        row, column = middle(mask)
        return mask & ~box(row - reach, column - reach, 2 * reach + 1, 2 * reach + 1)

    top, left = (int(axis.min()) for axis in np.nonzero(b))
    return {
        "equal": (a, a),
        "one pixel down": (a, moved(a, 1, 0)),
        "a little aside": (b, moved(b, 2, -3)),
        "far aside": (c, moved(c, -12, 25)),
        "grown": (d, binary_dilation(d)),
        "grown by four": (e, binary_dilation(e, iterations=4)),
        "grown by nine with corners": (f, binary_dilation(f, np.ones((3, 3)), 9)),
        "eroded": (g, binary_erosion(g)),
        "eroded by three": (h, binary_erosion(h, iterations=3)),
        "a hole": (a, holed(a, 1)),
        "a large hole": (b, holed(b, 3)),
        "a hole in both": (holed(c, 2), holed(moved(c, 3, 3), 1)),
        "a speck far away": (d, d | box(1, 1, 2, 3)),
        "two parts for one": (e, moved(e, -4, -20) | moved(e, 6, 22)),
        "two parts in both": (f | box(2, 2, 9, 9), f | box(height - 8, width - 11, 7, 10)),
        "another's nerve": (g, h),
        "the other's nerve": (h, g),
        "at the upper left corner": (moved(b, -top, -left), moved(b, -top - 4, -left - 6)),
        "over the lower edge": (moved(c, height // 2, 0), moved(c, height // 2 + 5, 4)),
        "the whole frame for a nerve": (d, full),
        "the whole frame in both": (full, full),
        "an inner frame": (full, box(2, 2, height - 4, width - 4)),
        "a pixel for a nerve": (e, box(*middle(e), 1, 1)),
        "two pixels apart": (box(10, 10, 1, 1), box(10, 31, 1, 1)),
        "a line along the edge": (f, box(0, 0, 1, width)),
        "the left half": (g, g & box(0, 0, height, middle(g)[1])),
        "ragged": (h, h & (random.random(h.shape) < 0.8)),
        "scattered": (a, random.random(a.shape) < 0.01),
        "nothing drawn": (a, empty),
        "a false alarm": (empty, b),
        "nothing in both": (empty, empty),
    }
