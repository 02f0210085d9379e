"""Steps that mend a mask after its thresholds, and the way from a model's answer to a mask."""

from collections.abc import Callable

import cv2
import numpy as np
from scipy.ndimage import binary_fill_holes

from nerveceg_tf.errors import RunError
from nerveceg_tf.runs.protocol import TrainedRun
from nerveceg_tf.runs.shapes import ShapeModel
from nerveceg_tf.runs.thresholds import Thresholds


def close_gaps(mask: np.ndarray) -> np.ndarray:
    """Joins what lies within about a hundredth of the frame's width of each other."""
    reach = max(1, round(mask.shape[1] / 100))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    framed = cv2.copyMakeBorder(mask.astype(np.uint8), *(reach,) * 4, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(framed, cv2.MORPH_CLOSE, kernel)
    return closed[reach:-reach, reach:-reach] > 0


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fills what the mask encloses."""
    return binary_fill_holes(mask)


def keep_largest(mask: np.ndarray) -> np.ndarray:
    """Keeps the largest connected part."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    return labels == 1 + areas.argmax() if len(areas) > 1 else mask


def fit_ellipse(mask: np.ndarray) -> np.ndarray:
    """Replaces the mask by the ellipse that fits the outline of its largest part best."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea)
    if len(outline) < 5:
        return mask  # five points make an ellipse
    canvas = np.zeros(mask.shape, np.uint8)
    return cv2.ellipse(canvas, cv2.fitEllipse(outline), 1, cv2.FILLED) > 0


STEPS: dict[str, Callable[[np.ndarray, ShapeModel], np.ndarray]] = {
    "close": lambda mask, _: close_gaps(mask),
    "fill": lambda mask, _: fill_holes(mask),
    "largest": lambda mask, _: keep_largest(mask),
    "ellipse": lambda mask, _: fit_ellipse(mask),
    "shape": lambda mask, shapes: shapes.nearest(mask),
}
"""Every step by its name, in the order in which they are taken.

Each is given masks that draw something.
"""


class MaskPostprocessor:
    """Turns a model's answer for a frame into the mask that the run stands for.

    Args:
        thresholds: the settings.
        shapes: for the postprocessing step `shape`.
    """

    def __init__(self, thresholds: Thresholds, shapes: ShapeModel | None = None):
        self.thresholds, self.shapes = thresholds, shapes

    @classmethod
    def from_run(cls, run: TrainedRun) -> "MaskPostprocessor":
        """The one that applies a run's thresholds and postprocessing.

        Raises:
            RunError: the run names a step that does not exist, or lacks the shapes for one.
        """
        thresholds = run.thresholds
        unknown = set(thresholds.postprocessing) - set(STEPS)
        if unknown:
            raise RunError(
                f"{run.path}: thresholds.json names the postprocessing {', '.join(sorted(unknown))};"
                f" there are {', '.join(STEPS)}"
            )
        return cls(thresholds, run.shapes)

    def __call__(self, presence: float, probability: np.ndarray) -> np.ndarray:
        """The mask of a frame, bool `(height, width)`.

        Args:
            presence: the gate's answer, 0..1.
            probability: float `(height, width)`, 0..1, drawn whatever the gate said.
        """
        if presence < self.thresholds.presence:
            return np.zeros(probability.shape, bool)
        return self.apply_steps(self.thresholds.binarize(probability))

    def apply_steps(self, mask: np.ndarray) -> np.ndarray:
        """The mask after the postprocessing steps."""
        for step in self.thresholds.postprocessing:
            if mask.any():
                mask = STEPS[step](mask, self.shapes)
        return mask
