"""Checks that an export predicts the same for a batch as for its frames one by one."""

from typing import Protocol, runtime_checkable

import numpy as np

from nerveceg_tf.export.config import Limits
from nerveceg_tf.export.exporters import PredictFn
from nerveceg_tf.export.prediction import Prediction

_FRAMES_OF_A_KIND = 2


@runtime_checkable
class _PredictsBatches(Protocol):
    def predict_batch(self, frames: list[np.ndarray]) -> list[Prediction]:
        """Predicts several frames at once."""


class BatchCheck:
    """Collects a few frames on both sides of the gate, to predict them again as one batch.

    Args:
        predict: an opened export. One that takes no batches is not checked.
    """

    def __init__(self, predict: PredictFn):
        self._predict = predict if isinstance(predict, _PredictsBatches) else None
        self._frames: dict[bool, list[tuple[np.ndarray, Prediction]]] = {True: [], False: []}

    def add(self, frame: np.ndarray, prediction: Prediction) -> None:
        """Adds one frame.

        Args:
            frame: uint8 `(height, width)`.
            prediction: of this frame alone.
        """
        of_its_kind = self._frames[bool(prediction.mask.any())]
        if self._predict and len(of_its_kind) < _FRAMES_OF_A_KIND:
            of_its_kind.append((frame, prediction))

    def broken_limits(self, limits: Limits) -> list[str]:
        """Predicts the batch.

        Args:
            limits: how far presence and mask may differ.

        Returns:
            Each limit that is broken, as a sentence.
        """
        frames = [*self._frames[True], *self._frames[False]]
        if not self._predict or len(frames) < 2:
            return []
        batch = self._predict.predict_batch([frame for frame, _ in frames])
        pairs = [(one, alone) for one, (_, alone) in zip(batch, frames, strict=True)]
        differences = {
            "presence": max(abs(one.presence - alone.presence) for one, alone in pairs),
            "mask": max(float(np.abs(one.mask - alone.mask).max()) for one, alone in pairs),
        }
        return [
            f"in a batch of {len(frames)}, {name} differs by {difference:.2g}, more than"
            f" {getattr(limits, name):g}"
            for name, difference in differences.items()
            if not difference <= getattr(limits, name)  # also true of NaN
        ]
