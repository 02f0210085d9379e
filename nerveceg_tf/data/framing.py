"""How a stage sees a frame, for training frames and exports. Needs NumPy and OpenCV only.

The layers in `nerveceg_tf.models.stage_settings.FRAMINGS` compute the same inside a model.
"""

from collections.abc import Callable

import numpy as np

from nerveceg_tf.data.resize import resize
from nerveceg_tf.size import Size


def crop(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Cuts a window from the middle of a frame, at native scale. What lies outside of it is 0.

    Where an even and an odd length meet, the window is half a pixel nearer to the first row or
    column. A second crop to the earlier size puts every pixel back to its place.

    Args:
        pixels: any dtype, `(height, width)`.
        size: height and width of the window in pixels.

    Returns:
        An array of `size` and of the same dtype.

    Example:
        >>> crop(np.arange(12).reshape(3, 4), (1, 2))
        array([[5, 6]])
        >>> crop(np.array([[5, 6]]), (1, 4))
        array([[0, 5, 6, 0]])
    """
    surplus, lack = (
        [max(sign * (old - new), 0) for old, new in zip(pixels.shape, size, strict=True)]
        for sign in (1, -1)
    )
    kept = (slice(s // 2, s // 2 + n - s) for s, n in zip(surplus, pixels.shape, strict=True))
    return np.pad(pixels[tuple(kept)], [(n // 2, n - n // 2) for n in lack])


TO_INPUT: dict[str, Callable[[np.ndarray, Size], np.ndarray]] = {"resize": resize, "crop": crop}
"""By the name of a framing: from the pixels of a frame and a size to the input of a stage."""
