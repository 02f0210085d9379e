"""Post-processing: from the outputs of a model to the final mask."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy.ndimage import binary_fill_holes

from nerveceg_tf.errors import RunError
from nerveceg_tf.runs.protocol import TrainedRun
from nerveceg_tf.runs.thresholds import Thresholds

if TYPE_CHECKING:
    from nerveceg_tf.runs.shapes import ShapeModel


def close_gaps(mask: np.ndarray) -> np.ndarray:
    """Closes gaps (morphological closing) up to about a hundredth of the frame's width.

    Args:
        mask: bool `(height, width)`.

    Returns:
        bool `(height, width)`.
    """
    reach = max(1, round(mask.shape[1] / 100))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    framed = cv2.copyMakeBorder(mask.astype(np.uint8), *(reach,) * 4, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(framed, cv2.MORPH_CLOSE, kernel)
    return closed[reach:-reach, reach:-reach] > 0


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fills the holes of a mask.

    Args:
        mask: bool `(height, width)`.

    Returns:
        bool `(height, width)`.
    """
    return binary_fill_holes(mask)


def keep_largest(mask: np.ndarray) -> np.ndarray:
    """Keeps only the largest connected component of a mask.

    Args:
        mask: bool `(height, width)`.

    Returns:
        bool `(height, width)`.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    return labels == 1 + areas.argmax() if len(areas) > 1 else mask


def fit_ellipse(mask: np.ndarray) -> np.ndarray:
    """Replaces a mask by the ellipse that fits the outline of its largest component best.

    Args:
        mask: bool `(height, width)`, not empty.

    Returns:
        bool `(height, width)`; the mask itself if its outline has fewer than five pixels.
    """
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea)
    if len(outline) < 5:
        return mask  # an ellipse is defined by five points
    canvas = np.zeros(mask.shape, np.uint8)
    return cv2.ellipse(canvas, cv2.fitEllipse(outline), 1, cv2.FILLED) > 0


def _nearest_shape(mask: np.ndarray, shapes: "ShapeModel | None") -> np.ndarray:
    assert shapes is not None  # a run with this step has a shape model
    return shapes.nearest(mask)


STEPS: dict[str, Callable[[np.ndarray, "ShapeModel | None"], np.ndarray]] = {
    "close": lambda mask, _: close_gaps(mask),
    "fill": lambda mask, _: fill_holes(mask),
    "largest": lambda mask, _: keep_largest(mask),
    "ellipse": lambda mask, _: fit_ellipse(mask),
    "shape": _nearest_shape,
}
"""The post-processing steps by name, in the order in which they are applied.

A step is never called with an empty mask.
"""


class MaskPostprocessor:
    """Turns the outputs of a model for a frame into the final mask.

    Args:
        thresholds: the thresholds and post-processing steps to apply.
        shapes: the shape model for the step `shape`; `None` without that step.
        min_pixels: a mask with fewer pixels than this becomes empty, after all steps; 0 is off.

    Raises:
        RunError: `min_pixels` is not a whole number, or is below 0.

    Example:
        >>> postprocess = MaskPostprocessor(Thresholds(presence=0.5, mask=0.5))
        >>> postprocess(0.9, np.array([[0.2, 0.8]]))
        array([[False,  True]])
        >>> postprocess(0.1, np.array([[0.2, 0.8]]))
        array([[False, False]])
    """

    def __init__(
        self, thresholds: Thresholds, shapes: "ShapeModel | None" = None, min_pixels: int = 0
    ):
        if not isinstance(min_pixels, int | np.integer) or min_pixels < 0:
            raise RunError(f"min_pixels={min_pixels}: pass a whole number of pixels, 0 or more")
        self.thresholds, self.shapes, self.min_pixels = thresholds, shapes, min_pixels

    @classmethod
    def from_run(cls, run: TrainedRun, min_pixels: int = 0) -> "MaskPostprocessor":
        """Makes a postprocessor with the thresholds and steps of a run.

        Args:
            run: a run or an ensemble of runs.
            min_pixels: as for the class.

        Raises:
            RunError: the run names a step that does not exist, or its shape model is missing; or
                `min_pixels` is wrong, or has no effect because the run has no segmenter.
        """
        if min_pixels > 0 and "segmenter" not in run.stages:
            raise RunError(
                f"min_pixels={min_pixels}: has no effect, because {run.path} has no segmenter and"
                " predicts no mask; leave it out"
            )
        thresholds = run.thresholds
        unknown = set(thresholds.postprocessing) - set(STEPS)
        if unknown:
            raise RunError(
                f"{run.path}: thresholds.json names the post-processing step"
                f" {', '.join(sorted(unknown))}; use {', '.join(STEPS)}"
            )
        return cls(thresholds, run.shapes, min_pixels)

    def __call__(self, presence: float, probability: np.ndarray) -> np.ndarray:
        """Makes the mask of a frame.

        Args:
            presence: the predicted presence, 0..1.
            probability: float `(height, width)`, nerve probability per pixel, 0..1.

        Returns:
            bool `(height, width)`; empty if `presence` is below its threshold, or if fewer than
            `min_pixels` pixels are left.
        """
        empty = np.zeros(probability.shape, bool)
        if presence < self.thresholds.presence:
            return empty
        mask = self.apply_steps(self.thresholds.binarize(probability))
        return mask if mask.sum() >= self.min_pixels else empty

    def apply_steps(self, mask: np.ndarray) -> np.ndarray:
        """Applies the post-processing steps alone.

        Args:
            mask: bool `(height, width)`.

        Returns:
            bool `(height, width)`.
        """
        for step in self.thresholds.postprocessing:
            if mask.any():
                mask = STEPS[step](mask, self.shapes)
        return mask
