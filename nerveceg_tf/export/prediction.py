"""The input and output of every exported model."""

from typing import NamedTuple

import numpy as np

from nerveceg_tf.data.resize import resize
from nerveceg_tf.errors import FrameError
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.size import Size


class Prediction(NamedTuple):
    """The prediction of one frame.

    Attributes:
        presence: float, 0..1, probability that the frame shows a nerve.
        mask: float32 `(height, width)`, nerve probability per pixel, 0..1, in the size of the
            frame. Exactly 0 everywhere if the frame does not pass the gate.
        mask_binary: uint8 `(height, width)`, 1 on the nerve and 0 elsewhere, by the thresholds of
            the export.
    """

    presence: float
    mask: np.ndarray
    mask_binary: np.ndarray


def check_frame(frame: np.ndarray) -> np.ndarray:
    """Checks a frame, and converts it to float32.

    Args:
        frame: gray values 0..255, `(height, width)` or `(height, width, 1)`.

    Returns:
        float32 `(height, width)`.

    Raises:
        FrameError: it has another shape, is empty, or contains anything but finite numbers.

    Example:
        >>> check_frame(np.zeros((64, 96, 1), np.uint8)).shape
        (64, 96)
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
    """Resizes a frame to the input of a model for frames of one size.

    Args:
        frame: float32 `(height, width)`.
        size: height and width that the model takes.

    Returns:
        float32 `(1, *size, 1)`.
    """
    return (frame if frame.shape == size else resize(frame, size))[None, ..., None]


def postprocess_output(
    presence: float, mask: np.ndarray, size: Size, thresholds: Thresholds
) -> Prediction:
    """Turns the outputs of a model into a prediction in the size of the frame.

    Args:
        presence: output of the gate, 0..1.
        mask: float32 `(1, height, width, 1)`, of any height and width; nerve probability, 0..1.
        size: height and width of the frame.
        thresholds: of the export; its post-processing steps are not applied.

    Returns:
        The prediction. Its binary mask is empty if the presence is below its threshold.
    """
    mask = mask[0, ..., 0]
    mask = mask if mask.shape == size else resize(mask, size)
    passed = presence >= thresholds.presence
    mask_binary = thresholds.binarize(mask) if passed else np.zeros(size, bool)
    return Prediction(float(presence), mask, mask_binary.astype(np.uint8))
