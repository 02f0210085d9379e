"""Scores of masks as Keras metrics: means over frames, not over batches."""

import keras
from keras import ops


class _FrameScore(keras.metrics.Mean):
    """The mean over frames of a score of binary masks.

    Args:
        threshold: probability, 0..1, from which a pixel counts as nerve.
        name: the metric's name.

    Shape:
        `y_true` and `y_pred`: `(batch, height, width, 1)`; `sample_weight`, if any: `(batch,)`.
    """

    def __init__(self, threshold: float = 0.5, name: str | None = None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.threshold = threshold

    def _score(self, y_true, y_pred, alpha: float = 0.5) -> tuple:
        """Tversky index of each frame, 1 if both masks are empty, and whether it has a nerve.

        With equal weights (`alpha=0.5`) it is Dice.
        """
        truth = ops.cast(ops.cast(y_true, "float32") >= 0.5, "float32")
        predicted = ops.cast(ops.cast(y_pred, "float32") >= self.threshold, "float32")
        axes = (1, 2, 3)
        overlap, area = ops.sum(truth * predicted, axes), ops.sum(truth, axes)
        missed, false = area - overlap, ops.sum(predicted, axes) - overlap
        total = overlap + alpha * missed + (1 - alpha) * false
        score = ops.where(total > 0, overlap / ops.where(total > 0, total, 1.0), 1.0)
        return score, area > 0

    def get_config(self) -> dict:
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class KaggleDice(_FrameScore):
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
        dice, _ = self._score(y_true, y_pred)
        return super().update_state(dice, sample_weight)


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class NerveDice(_FrameScore):
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
        dice, present = self._score(y_true, y_pred)
        weight = ops.cast(present, "float32")
        if sample_weight is not None:
            weight = weight * ops.cast(ops.reshape(sample_weight, (-1,)), "float32")
        return super().update_state(dice, weight)


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class TverskyIndex(_FrameScore):
    """The mean over all frames of the Tversky index: `TP / (TP + alpha * FN + (1 - alpha) * FP)`.

    The index of two empty masks is 1.

    Args:
        alpha: weight of missed nerve pixels, 0..1; false nerve pixels get `1 - alpha`. With 0.5 it
            is Dice.
        threshold: probability, 0..1, from which a pixel counts as nerve.
        name: the metric's name.

    Example:
        >>> metric = TverskyIndex(alpha=0.7)
        >>> metric.update_state(keras.ops.ones((1, 4, 4, 1)), keras.ops.zeros((1, 4, 4, 1)))
        >>> float(metric.result())
        0.0

    Reference:
        Salehi, Erdogmus, Gholipour (2017), https://arxiv.org/abs/1706.05721
    """

    def __init__(
        self,
        alpha: float = 0.7,
        threshold: float = 0.5,
        name: str = "tversky_index",
        **kwargs,
    ):
        super().__init__(threshold, name, **kwargs)
        self.alpha = alpha

    def update_state(self, y_true, y_pred, sample_weight=None):
        index, _ = self._score(y_true, y_pred, self.alpha)
        return super().update_state(index, sample_weight)

    def get_config(self) -> dict:
        return {**super().get_config(), "alpha": self.alpha}
