"""Maps as they are looked at."""

import cv2
import numpy as np

_BRIGHTEST = 99.5
"""The percentile of a map that is drawn brightest: saliency is mostly a few far larger values."""


def heatmap(values: np.ndarray) -> np.ndarray:
    """A map as it is looked at: uint8 `(height, width)` of float `(height, width)`, whose sign does
    not count, as bright as its own largest values."""
    strength = np.abs(values)
    brightest = np.percentile(strength, _BRIGHTEST) or strength.max()
    if not brightest:
        return np.zeros(values.shape, np.uint8)
    return (np.minimum(strength / brightest, 1) * 255).astype(np.uint8)


def overlay_heatmap(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A map's colours over its frame, uint8 `(height, width, 3)`, blue-green-red."""
    strength = heatmap(values)
    colours = cv2.applyColorMap(strength, cv2.COLORMAP_INFERNO)
    share = (strength / 255 * 0.8)[..., None]
    return (image[..., None] * (1 - share) + colours * share).astype(np.uint8)
