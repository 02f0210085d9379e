"""The thresholds that turn presence and mask probabilities into decisions."""

from dataclasses import dataclass

import numpy as np

LEVELS = 256
"""Number of steps into which mask probabilities are divided to be counted."""

NEAR = 1e-4
"""A threshold this near to a level, in levels, is that level. In between, it is exact."""


@dataclass(frozen=True)
class Thresholds:
    """The settings that turn the outputs of a model into a mask.

    Attributes:
        presence: float, 0..1. If the predicted presence is below it, the mask is empty.
        mask: float, 0..1. A pixel counts as nerve if its probability is at least this.
        area: float, 0..1, a share of the frame. A mask that covers less becomes empty.
        postprocessing: names of the steps in `nerveceg_tf.inference.postprocess.STEPS` that are
            applied to the mask afterwards.

    Raises:
        ValueError: a number is not between 0 and 1.

    Example:
        >>> import numpy as np
        >>> thresholds = Thresholds(mask=0.6, area=0.3)
        >>> thresholds.binarize(np.array([[0.7, 0.9], [0.5, 0.1]]))
        array([[ True,  True],
               [False, False]])
    """

    presence: float = 0.5
    mask: float = 0.5
    area: float = 0.0
    postprocessing: tuple[str, ...] = ()

    def __post_init__(self):
        for name in ("presence", "mask", "area"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"threshold of {name}: is {value}; pass a number from 0 to 1")

    def binarize(self, probability: np.ndarray) -> np.ndarray:
        """Turns mask probabilities into a mask, without gate and post-processing.

        Args:
            probability: float `(height, width)`, nerve probability per pixel, 0..1.

        Returns:
            bool `(height, width)`; all `False` if the mask covers less than `area` of the frame.
        """
        mask = probability * (LEVELS - 1) >= lower_edge(self.mask)
        large = np.count_nonzero(mask) / mask.size >= self.area  # ten times as fast as a mean
        return mask if large else np.zeros_like(mask)


def lower_edge(mask: float) -> float:
    """The smallest probability that counts as nerve at a mask threshold, in levels.

    Args:
        mask: the mask threshold, 0..1.

    Returns:
        A number, 0..255; whole if the threshold is the `level / 255` of a level.

    Example:
        >>> lower_edge(0.5), lower_edge(0.6)
        (127.5, 153)
    """
    edge = mask * (LEVELS - 1)
    return round(edge) if abs(edge - round(edge)) < NEAR else edge


def threshold_level(mask: float) -> int:
    """The smallest level that counts as nerve at a mask threshold.

    Args:
        mask: the mask threshold, 0..1.

    Returns:
        A level, 0..255.
    """
    return int(np.ceil(lower_edge(mask)))


def levels(probability: np.ndarray, mask: float = 0.0) -> np.ndarray:
    """Rounds probabilities down to 256 levels.

    Args:
        probability: float array of any shape, 0..1.
        mask: a mask threshold, 0..1. The level from which pixels count as nerve begins at it, and
            so counts of levels are exact for it. Other levels begin at `level / 255`.

    Returns:
        uint8 array of the same shape, 0..255.
    """
    scaled = np.clip(probability * (LEVELS - 1), 0, LEVELS - 1)
    rounded = scaled.astype(np.uint8)
    level = threshold_level(mask)
    if level != lower_edge(mask):
        np.maximum(rounded, level, out=rounded, where=scaled >= lower_edge(mask))
    return rounded
