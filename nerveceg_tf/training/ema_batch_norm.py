"""Uses the EMA weights of a model, with batch-norm statistics that fit them."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

_OLD_SHARE = 0.05
"""Weight of the old statistics in the new ones."""


class SwapEMA(keras.callbacks.Callback):
    """Swaps the moving average of the weights (EMA) into the model for validation and checkpoints.

    At the beginning of an epoch it swaps them out. The optimizer must be a `FlatAdamW`.
    """

    def __init__(self):
        super().__init__()
        self._is_in = False

    def _swap(self, into: bool) -> None:
        if into != self._is_in:
            optimizer = self.model.optimizer
            # Mixed precision in float16 wraps the optimizer in a LossScaleOptimizer.
            getattr(optimizer, "inner_optimizer", optimizer).swap_ema()
            self._is_in = into

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._swap(into=False)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._swap(into=True)

    def on_test_begin(self, logs: dict | None = None) -> None:
        self._swap(into=True)

    def on_test_end(self, logs: dict | None = None) -> None:
        self._swap(into=False)


class EMABatchNorm(keras.callbacks.Callback):
    """Re-estimates the batch-norm statistics for the EMA weights (SWA's `update_bn`).

    The moving statistics of a training belong to its current weights. While the learning rate is
    high, the current weights differ much from their average, and so do the activations. With the
    wrong statistics, the EMA weights score far too low in the middle of a training, and the best
    epoch is missed.

    It must come after the callback that swaps the EMA weights in and out. It swaps the statistics
    at the same times. Frozen layers keep their statistics.

    Args:
        batches: training batches; their number is known, and they are the same each time.

    Reference:
        Izmailov et al.: Averaging Weights Leads to Wider Optima and Better Generalization (UAI
        2018), section 3.2, https://arxiv.org/abs/1803.05407
    """

    def __init__(self, batches: tf.data.Dataset):
        super().__init__()
        self.batches = batches
        self._layers: list[keras.layers.BatchNormalization] = []
        self._current_statistics: list[np.ndarray] | None = None
        self._ema_statistics: list[np.ndarray] | None = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._layers = [
            layer
            for layer in self.model.layers
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        ]
        signature = [self.batches.element_spec[0]]
        self._forward = tf.function(lambda x: self.model(x, training=True), signature)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._swap_out()
        self._ema_statistics = None

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._swap_in()

    def on_test_begin(self, logs: dict | None = None) -> None:
        self._swap_in()

    def on_test_end(self, logs: dict | None = None) -> None:
        self._swap_out()

    def _swap_in(self) -> None:
        current = self._current_statistics = self._values()
        if self._ema_statistics is None:
            self._ema_statistics = self._estimate(current)
        self._assign(self._ema_statistics)

    def _swap_out(self) -> None:
        if self._current_statistics is not None:
            self._assign(self._current_statistics)
            self._current_statistics = None

    def _estimate(self, current: list[np.ndarray]) -> list[np.ndarray]:
        """A moving average of the statistics of all batches, which starts from the current ones.

        The current statistics have the weight `_OLD_SHARE` in the result. To get the statistics of
        a single batch, the moving statistics are set to 0 before the forward pass, and divided by
        (1 - momentum) after it.
        """
        share = _OLD_SHARE ** (1 / len(self.batches))
        batch_weights = [1 - layer.momentum for layer in self._layers for _ in range(2)]
        zeros = [np.zeros_like(value) for value in current]
        statistics = current
        for images, *_ in self.batches:
            self._assign(zeros)
            self._forward(images)
            of_batch = [
                value / weight for value, weight in zip(self._values(), batch_weights, strict=True)
            ]
            pairs = zip(statistics, of_batch, strict=True)
            statistics = [share * old + (1 - share) * new for old, new in pairs]
        return statistics

    def _variables(self) -> list[tf.Variable]:
        moving = [v for layer in self._layers for v in (layer.moving_mean, layer.moving_variance)]
        return [v.value for v in moving]

    def _values(self) -> list[np.ndarray]:
        return [variable.numpy() for variable in self._variables()]

    def _assign(self, values: Sequence[np.ndarray]) -> None:
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value, read_value=False)
