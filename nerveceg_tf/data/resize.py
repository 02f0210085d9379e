"""Resizing frames as training saw them; needs NumPy and OpenCV alone."""

import cv2
import numpy as np

from nerveceg_tf.size import Size

__all__ = ["Size", "resize"]


def resize(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Resizes a `(height, width)` array: area average where an axis shrinks, linear where it grows.

    `nerveceg_tf.models.resize_layer.Resize` computes the same inside a model.
    """
    height, width = size
    if (pixels.shape[0] - height) * (pixels.shape[1] - width) < 0:
        # One axis shrinks and one grows. OpenCV has one method for both, so each goes by itself.
        exact = resize(pixels.astype(np.float32), (height, pixels.shape[1]))
        resized = resize(exact, size)
        return resized if pixels.dtype == np.float32 else np.rint(resized).astype(pixels.dtype)
    shrinks = height < pixels.shape[0] or width < pixels.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(pixels, (width, height), interpolation=method)
