"""Dice scores as Keras metrics: means over frames, not over batches."""

import keras
from keras import ops


class _FrameDice(keras.metrics.Mean):
    """The mean over frames of the Dice score of binary masks.

    Args:
        threshold: probability, 0..1, from which a pixel counts as nerve.
        name: the metric's name.

    Shape:
        `y_true` and `y_pred`: `(batch, height, width, 1)`; `sample_weight`, if any: `(batch,)`.
    """

    def __init__(self, threshold: float = 0.5, name: str | None = None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.threshold = threshold

    def _dice(self, y_true, y_pred) -> tuple:
        """Dice of each frame, 1 if both masks are empty, and whether the frame has a nerve."""
        truth = ops.cast(ops.cast(y_true, "float32") >= 0.5, "float32")
        predicted = ops.cast(ops.cast(y_pred, "float32") >= self.threshold, "float32")
        axes = (1, 2, 3)
        overlap = ops.sum(truth * predicted, axes)
        total = ops.sum(truth, axes) + ops.sum(predicted, axes)
        dice = ops.where(total > 0, 2 * overlap / ops.maximum(total, 1.0), 1.0)
        return dice, ops.any(truth > 0, axes)

    def get_config(self) -> dict:
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class KaggleDice(_FrameDice):
    """Kaggle's score: the mean of Dice over all frames. Dice of two empty masks is 1.

    Args:
        threshold: probability, 0..1, from which a pixel counts as nerve.
        name: the metric's name.

    Example:
        >>> metric = KaggleDice()
        >>> metric.update_state(keras.ops.zeros((1, 4, 4, 1)), keras.ops.zeros((1, 4, 4, 1)))
        >>> float(metric.result())
        1.0
    """

    def __init__(self, threshold: float = 0.5, name: str = "kaggle_dice", **kwargs):
        super().__init__(threshold, name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        dice, _ = self._dice(y_true, y_pred)
        return super().update_state(dice, sample_weight)


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class NerveDice(_FrameDice):
    """The mean of Dice over the frames with a nerve. It is 0 without such frames.

    Args:
        threshold: probability, 0..1, from which a pixel counts as nerve.
        name: the metric's name.

    Example:
        >>> metric = NerveDice()
        >>> metric.update_state(keras.ops.ones((1, 4, 4, 1)), keras.ops.ones((1, 4, 4, 1)))
        >>> float(metric.result())
        1.0
    """

    def __init__(self, threshold: float = 0.5, name: str = "nerve_dice", **kwargs):
        super().__init__(threshold, name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        dice, present = self._dice(y_true, y_pred)
        weight = ops.cast(present, "float32")
        if sample_weight is not None:
            weight = weight * ops.cast(ops.reshape(sample_weight, (-1,)), "float32")
        return super().update_state(dice, weight)
