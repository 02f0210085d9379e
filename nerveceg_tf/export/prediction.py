"""The input and output of every exported model."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from nerveceg_tf.data.framing import CUTTING, TO_FRAME, TO_INPUT, fitted
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
    checked = frame.astype(np.float32)
    if frame.dtype.kind == "f" and not np.isfinite(checked).all():
        raise FrameError("frame with NaN or infinite values: pass gray values 0..255")
    return checked


class ExportFraming:
    """Brings frames of any size to the one size that an export takes, and masks back.

    Args:
        size: height and width of the frames that the model takes.
        framing: how each stage sees a frame, by stage: a name in `FRAMING_NAMES`.
        windows: height and width of the input of each stage, by stage.
    """

    def __init__(self, size: Size, framing: Mapping[str, str], windows: Mapping[str, Size]):
        self.size = size
        names = set(framing.values())
        self._name = names.pop() if len(names) == 1 else _MIXED if names else "resize"
        # Borders are cut inside the model.
        self._way = "resize" if self._name in CUTTING else self._name
        self._inputs = [windows[stage] for stage, name in framing.items() if name != "resize"]

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
        if frame.shape != self.size:
            self._check(frame.shape)
            frame = TO_INPUT[self._way](frame, self.size)
        return frame[None, ..., None]

    def to_frame(self, mask: np.ndarray, size: Size) -> np.ndarray:
        """Brings a mask, float32 `(height, width)`, to the size of the frame."""
        return mask if mask.shape == size else TO_FRAME[self._way](mask, size)

    def _check(self, frame: Size) -> None:
        """Checks that each stage sees a frame that was brought to the size as it sees the frame."""
        what_it_does, same = _SAME_VIEW[self._name]
        if not all(same(frame, self.size, window) for window in self._inputs):
            raise FrameError(
                f"frame of {format_size(frame)}: this export {what_it_does}, and takes those of"
                f" {format_size(self.size)}; export it for this size too"
            )


def _same_window(frame: Size, size: Size, window: Size) -> bool:
    """Whether a window is the same after a frame was cropped or padded to a size."""

    def begin(old: int, new: int) -> int:
        return max(old - new, 0) // 2 - max(new - old, 0) // 2

    return all(
        begin(old, new) + begin(new, side) == begin(old, side) and new >= min(old, side)
        for old, new, side in zip(frame, size, window, strict=True)
    )


def _same_letterbox(frame: Size, size: Size, window: Size) -> bool:
    """Whether a frame that was letterboxed before has the same size in an input, up to a pixel."""
    at_once, within, outer = fitted(frame, window), fitted(frame, size), fitted(size, window)
    return all(
        abs(inner * side / new - direct) <= 1
        for inner, side, new, direct in zip(within, outer, size, at_once, strict=True)
    )


def _same_shape(frame: Size, size: Size, _: Size) -> bool:
    """Whether a frame keeps its shape, up to half a pixel, if it is resized."""
    return fitted(frame, size) == size


_MIXED = "mixed"

_SAME_VIEW: dict[str, tuple[str, Callable[[Size, Size, Size], bool]]] = {
    "resize": ("resizes frames", lambda *_: True),
    "crop": ("crops frames", _same_window),
    "letterbox": ("letterboxes frames", _same_letterbox),
    "content": ("cuts black borders off frames", _same_shape),
    _MIXED: ("frames each stage differently", lambda *_: False),
}
"""By the name of a framing: what an export does, and whether a stage's input of a size shows the
same of a frame that was brought to the size of the export before."""


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
    return Prediction(float(presence), mask, mask_binary.view(np.uint8))
