"""What every exported model says of a frame, and the frames that it takes."""

from typing import NamedTuple

import numpy as np

from nerveceg_tf.data.resize import resize
from nerveceg_tf.errors import FrameError
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.size import Size


class Prediction(NamedTuple):
    """What a model says of one frame.

    Attributes:
        presence: probability that the frame holds a nerve, 0..1.
        mask: float32 `(height, width)`, nerve probability per pixel in the frame's own size;
            exactly 0 everywhere where the gate refused.
        mask_binary: uint8 `(height, width)`, 1 on the nerve by the model's own thresholds.
    """

    presence: float
    mask: np.ndarray
    mask_binary: np.ndarray


def check_frame(frame: np.ndarray) -> np.ndarray:
    """A frame as float32 `(height, width)`.

    Args:
        frame: gray values 0..255, `(height, width)` or `(height, width, 1)`.

    Raises:
        FrameError: it has another shape, is empty, or holds anything but numbers.
    """
    frame = np.asarray(frame)
    if frame.ndim == 3 and frame.shape[2] == 1:
        frame = frame[..., 0]
    if frame.ndim != 2 or not frame.size:
        raise FrameError(f"frame of shape {frame.shape}: pass one gray frame, (height, width)")
    if frame.dtype.kind not in "uif":
        raise FrameError(f"frame of {frame.dtype}: pass gray values 0..255")
    frame = frame.astype(np.float32)
    if not np.isfinite(frame).all():
        raise FrameError("frame with NaN or infinite values: pass gray values 0..255")
    return frame


def resize_to_input(frame: np.ndarray, size: Size) -> np.ndarray:
    """The frame as a model for frames of one size takes it, float32 `(1, *size, 1)`."""
    return (frame if frame.shape == size else resize(frame, size))[None, ..., None]


def postprocess_output(
    presence: float, mask: np.ndarray, size: Size, thresholds: Thresholds
) -> Prediction:
    """A model's outputs in the size of the frame that was asked about.

    Args:
        presence: the gate's.
        mask: float32 `(1, any, any, 1)`.
        size: of the frame.
        thresholds: of the model.
    """
    mask = mask[0, ..., 0]
    mask = mask if mask.shape == size else resize(mask, size)
    passed = presence >= thresholds.presence
    drawn = thresholds.binarize(mask) if passed else np.zeros(size, bool)
    return Prediction(float(presence), mask, drawn.astype(np.uint8))
