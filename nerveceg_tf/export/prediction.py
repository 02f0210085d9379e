"""The input and output of every exported model."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from nerveceg_tf.data.framing import TO_INPUT
from nerveceg_tf.errors import FrameError
from nerveceg_tf.export.metadata import frame_size
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.size import Size, format_size


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


class ExportFraming:
    """Brings frames of any size to the one size that an export takes, and masks back.

    Args:
        size: height and width of the frames that the model takes.
        framing: how each stage sees a frame, by stage: `"resize"` or `"crop"`.
        windows: height and width of the input of each stage, by stage.
    """

    def __init__(self, size: Size, framing: Mapping[str, str], windows: Mapping[str, Size]):
        self.size = size
        self._windows = [windows[stage] for stage, name in framing.items() if name == "crop"]
        self._mixed = len(set(framing.values())) > 1
        self._change_size = TO_INPUT["crop" if self._windows else "resize"]

    @classmethod
    def from_metadata(cls, metadata: dict[str, Any]) -> "ExportFraming":
        """Makes it for an export; the stages of an older one see whole frames."""
        framing = metadata.get("framing", {})
        windows = {stage: tuple(metadata[f"{stage}_size"]) for stage in framing}
        return cls(frame_size(metadata), framing, windows)

    def to_model(self, frame: np.ndarray) -> np.ndarray:
        """Brings a frame to the size of the model.

        Args:
            frame: float32 `(height, width)`.

        Returns:
            float32 `(1, *size, 1)`.

        Raises:
            FrameError: the stages would not see the same parts of it as before the export.
        """
        if frame.shape == self.size:
            return frame[None, ..., None]
        exact = all(
            _same_window(*sides)
            for window in self._windows
            for sides in zip(frame.shape, self.size, window, strict=True)
        )
        if self._mixed or not exact:
            raise FrameError(
                f"frame of {format_size(frame.shape)}: this export crops frames, and takes those of"
                f" {format_size(self.size)}; export it for this size too"
            )
        return self._change_size(frame, self.size)[None, ..., None]

    def to_frame(self, mask: np.ndarray, size: Size) -> np.ndarray:
        """Brings a mask, float32 `(height, width)`, to the size of the frame."""
        return mask if mask.shape == size else self._change_size(mask, size)


def _same_window(length: int, model_side: int, window: int) -> bool:
    """Whether a window of a side is the same after the side was cropped or padded."""

    def begin(old: int, new: int) -> int:
        return max(old - new, 0) // 2 - max(new - old, 0) // 2

    same = begin(length, model_side) + begin(model_side, window) == begin(length, window)
    return same and model_side >= min(length, window)


def postprocess_output(presence: float, mask: np.ndarray, thresholds: Thresholds) -> Prediction:
    """Turns the outputs of a model into a prediction.

    Args:
        presence: output of the gate, 0..1.
        mask: nerve probability, 0..1, float32 `(height, width)` in the size of the frame.
        thresholds: of the export; its post-processing steps are not applied.

    Returns:
        The prediction. Its binary mask is empty if the presence is below its threshold.
    """
    passed = presence >= thresholds.presence
    mask_binary = thresholds.binarize(mask) if passed else np.zeros(mask.shape, bool)
    return Prediction(float(presence), mask, mask_binary.astype(np.uint8))
