"""Resizes frames as in training. Needs NumPy and OpenCV only."""

import cv2
import numpy as np

from nerveceg_tf.size import Size

__all__ = ["Size", "resize"]


def resize(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Resizes an image: area average along an axis that shrinks, linear along one that grows.

    The layer `nerveceg_tf.models.resize_layer.Resize` computes the same inside a model.

    Args:
        pixels: uint8 or float32 `(height, width)`.
        size: the new height and width in pixels.

    Returns:
        An array of `size` and of the same dtype.

    Example:
        >>> resize(np.array([[0, 100], [100, 200]], np.uint8), (1, 1))
        array([[100]], dtype=uint8)
    """
    height, width = size
    if (pixels.shape[0] - height) * (pixels.shape[1] - width) < 0:
        # One axis shrinks and one grows. OpenCV has one method per call, so resize them in turn.
        exact = resize(pixels.astype(np.float32), (height, pixels.shape[1]))
        resized = resize(exact, size)
        return resized if pixels.dtype == np.float32 else np.rint(resized).astype(pixels.dtype)
    shrinks = height < pixels.shape[0] or width < pixels.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(pixels, (width, height), interpolation=method)
