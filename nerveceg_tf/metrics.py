"""Dice scores as Keras metrics, averaged over frames and not over batches."""

import keras
from keras import ops


class _FrameDice(keras.metrics.Mean):
    """The mean over frames of the Dice score of binarised masks.

    Args:
        threshold: probability from which a pixel counts as nerve.
        name: the metric's name.

    Shape:
        `y_true` and `y_pred`: `(batch, height, width, 1)`; `sample_weight`, if any: `(batch,)`.
    """

    def __init__(self, threshold: float = 0.5, name: str | None = None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.threshold = threshold

    def _dice(self, y_true, y_pred) -> tuple:
        """Per frame: Dice, with 1 where both masks are empty, and whether there is a nerve."""
        truth = ops.cast(ops.cast(y_true, "float32") >= 0.5, "float32")
        drawn = ops.cast(ops.cast(y_pred, "float32") >= self.threshold, "float32")
        axes = (1, 2, 3)
        overlap = ops.sum(truth * drawn, axes)
        total = ops.sum(truth, axes) + ops.sum(drawn, axes)
        dice = ops.where(total > 0, 2 * overlap / ops.maximum(total, 1.0), 1.0)
        return dice, ops.any(truth > 0, axes)

    def get_config(self) -> dict:
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class KaggleDice(_FrameDice):
    """Kaggle's score: Dice per frame, 1 for empty against empty, averaged over all frames."""

    def __init__(self, threshold: float = 0.5, name: str = "kaggle_dice", **kwargs):
        super().__init__(threshold, name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        dice, _ = self._dice(y_true, y_pred)
        return super().update_state(dice, sample_weight)


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class NerveDice(_FrameDice):
    """Dice per frame, averaged over the frames that hold a nerve; 0 while there was none."""

    def __init__(self, threshold: float = 0.5, name: str = "nerve_dice", **kwargs):
        super().__init__(threshold, name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        dice, present = self._dice(y_true, y_pred)
        weight = ops.cast(present, "float32")
        if sample_weight is not None:
            weight = weight * ops.cast(ops.reshape(sample_weight, (-1,)), "float32")
        return super().update_state(dice, weight)
