"""Pictures of a frame with outlines on it."""

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
    """Draws the outline of a predicted mask in yellow, and of the true one in green.

    Small frames are enlarged by a whole factor, so that the outlines hide little.

    Args:
        image: uint8 `(height, width)`.
        mask: the predicted nerve, `(height, width)`, of any type; not 0 is nerve.
        presence: written below the frame, if given.
        truth: the true nerve, like `mask`.

    Returns:
        uint8 `(height, width, 3)`, blue-green-red.
    """
    factor = max(1, _WIDEST // image.shape[1])
    canvas = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    canvas = cv2.resize(canvas, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    for outline, colour in ((truth, TRUTH_COLOUR), (mask, PREDICTED_COLOUR)):
        if outline is not None:
            large = np.kron(outline != 0, np.ones((factor, factor))).astype(np.uint8)
            contours, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(canvas, contours, -1, colour, 2, cv2.LINE_AA)
    if presence is None:
        return canvas
    caption = np.zeros((28, canvas.shape[1], 3), np.uint8)
    text = f"presence {presence:.2f}" + ("" if np.any(mask) else "  no nerve drawn")
    cv2.putText(caption, text, (8, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235,) * 3, 1, cv2.LINE_AA)
    return np.vstack([canvas, caption])
