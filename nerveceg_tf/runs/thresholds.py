"""Where presence and mask probabilities become yes or no."""

from dataclasses import dataclass

import numpy as np

LEVELS = 256
"""Into so many steps a mask's probabilities are told apart, wherever they are compared."""


@dataclass(frozen=True)
class Thresholds:
    """The settings that turn a model's answers into a mask.

    Attributes:
        presence: presence below it gives an empty mask.
        mask: probability from which a pixel counts as nerve.
        area: smallest share of the frame that a mask covers; less is taken for an empty mask.
        postprocessing: names of steps in `inference.postprocess.STEPS` that mend the mask afterwards.

    Raises:
        ValueError: a number is not from 0 to 1.
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
        """The mask that a frame's probabilities `(height, width)` make, bool of that shape, before
        the gate and before postprocessing."""
        mask = levels(probability) >= threshold_level(self.mask)
        return mask if mask.mean() >= self.area else np.zeros_like(mask)


def levels(probability: np.ndarray) -> np.ndarray:
    """The level of each pixel, uint8 like `probability`, which is 0..1."""
    return np.clip(probability * (LEVELS - 1), 0, LEVELS - 1).astype(np.uint8)


def threshold_level(mask: float) -> int:
    """The level from which a pixel counts as nerve at a mask threshold."""
    return int(np.clip(np.ceil(mask * (LEVELS - 1) - 1e-9), 0, LEVELS - 1))
