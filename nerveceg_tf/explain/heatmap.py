"""Pictures of maps."""

import cv2
import numpy as np

_BRIGHTEST = 99.5
"""The percentile of a map that is drawn brightest. A few values are often far larger."""


def heatmap(values: np.ndarray) -> np.ndarray:
    """Scales a map to gray values.

    Args:
        values: float `(height, width)`. The sign is ignored.

    Returns:
        uint8 `(height, width)`. The largest values of the map become 255.

    Example:
        >>> heatmap(np.array([[0.0, -1.0], [2.0, 2.0]]))
        array([[  0, 127],
               [255, 255]], dtype=uint8)
    """
    strength = np.abs(values)
    brightest = np.percentile(strength, _BRIGHTEST) or strength.max()
    if not brightest:
        return np.zeros(values.shape, np.uint8)
    return (np.minimum(strength / brightest, 1) * 255).astype(np.uint8)


def colour(gray: np.ndarray) -> np.ndarray:
    """Colours the gray values of `heatmap`: black, violet, orange, light yellow.

    Args:
        gray: uint8 `(height, width)`.

    Returns:
        uint8 `(height, width, 3)`, in OpenCV's order blue, green, red.
    """
    return cv2.applyColorMap(gray, cv2.COLORMAP_INFERNO)


def overlay_heatmap(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Draws a map in colours over its frame.

    Args:
        image: uint8 `(height, width)`, gray.
        values: float `(height, width)`. The sign is ignored.

    Returns:
        uint8 `(height, width, 3)`, in OpenCV's order blue, green, red.
    """
    strength = heatmap(values)
    opacity = (strength / 255 * 0.8)[..., None]
    return (image[..., None] * (1 - opacity) + colour(strength) * opacity).astype(np.uint8)
