"""Images of a frame with the outlines of masks."""

import cv2
import numpy as np

PREDICTED_COLOUR = (80, 220, 255)  # yellow, in OpenCV's blue-green-red
TRUTH_COLOUR = (120, 230, 90)  # green
_WIDEST = 640


def overlay(
    image: np.ndarray,
    mask: np.ndarray,
    presence: float | None = None,
    truth: np.ndarray | None = None,
) -> np.ndarray:
    """Draws the outline of the predicted mask in yellow, and of the true mask in green.

    Small frames are enlarged by a whole factor, so that the lines cover little of the image.

    Args:
        image: uint8 `(height, width)`, gray 0..255.
        mask: the predicted mask, `(height, width)` of any dtype; every value except 0 is nerve.
        presence: the predicted probability of a nerve, 0..1; if given, it is written below the
            frame.
        truth: the true mask, in the format of `mask`; `None`: not drawn.

    Returns:
        uint8 `(height, width, 3)` in the order blue, green, red; larger than the frame.

    Example:
        >>> image, mask = np.zeros((112, 144), np.uint8), np.zeros((112, 144), np.uint8)
        >>> mask[40:60, 50:90] = 1
        >>> overlay(image, mask, presence=0.9).shape
        (476, 576, 3)
    """
    factor = max(1, _WIDEST // image.shape[1])
    large = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    canvas = cv2.cvtColor(large, cv2.COLOR_GRAY2BGR)
    for outline, colour in ((truth, TRUTH_COLOUR), (mask, PREDICTED_COLOUR)):
        if outline is not None:
            enlarged = (outline != 0).astype(np.uint8).repeat(factor, axis=0).repeat(factor, axis=1)
            contours, _ = cv2.findContours(enlarged, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(canvas, contours, -1, colour, 2, cv2.LINE_AA)
    if presence is None:
        return canvas
    caption = np.zeros((28, canvas.shape[1], 3), np.uint8)
    text = f"presence {presence:.2f}" + ("" if np.any(mask) else "  no nerve predicted")
    cv2.putText(caption, text, (8, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235,) * 3, 1, cv2.LINE_AA)
    return np.vstack([canvas, caption])
