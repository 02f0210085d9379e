"""EnsembleModel weights in use, with batch statistics that fit them."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

_LEFT = 0.05
"""The share of the old statistics that is left in the new ones."""


class SwapEMA(keras.callbacks.Callback):
    """Puts the moving average of the weights into the model wherever it is scored or kept.

    It takes them out at the beginning of an epoch. The optimizer is a `FlatAdamW`.
    """

    def __init__(self):
        super().__init__()
        self._is_in = False

    def _swap(self, into: bool) -> None:
        if into != self._is_in:
            self.model.optimizer.swap_ema()
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
    """Measures the statistics of batch normalisation anew wherever averaged weights are in use.

    Those that a training keeps are of its weights as they are. While the learning rate is high
    these jump about, their average does not, and behind it activations differ: by the statistics
    of the others an average in the middle of a training scores far too low, and the best epoch is
    missed (Izmailov et al. 2018, section 3.2, https://arxiv.org/abs/1803.05407).

    It stands behind a callback that swaps averaged weights in and out, and swaps when that does.
    Layers that are frozen keep what they have.

    Args:
        batches: training batches of known number, the same ones each time.
    """

    def __init__(self, batches: tf.data.Dataset):
        super().__init__()
        self.batches = batches
        self._layers, self._of_weights, self._of_average = [], None, None

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._layers = [
            layer
            for layer in self.model.layers
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        ]
        signature = [self.batches.element_spec[0]]
        self._look = tf.function(lambda x: self.model(x, training=True), signature)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._swap_out()
        self._of_average = None

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._swap_in()

    def on_test_begin(self, logs: dict | None = None) -> None:
        self._swap_in()

    def on_test_end(self, logs: dict | None = None) -> None:
        self._swap_out()

    def _swap_in(self) -> None:
        self._of_weights = self._values()
        if self._of_average is None:
            self._of_average = self._measured()
        self._assign(self._of_average)

    def _swap_out(self) -> None:
        if self._of_weights is not None:
            self._assign(self._of_weights)
            self._of_weights = None

    def _measured(self) -> list[np.ndarray]:
        """The statistics of the batches, each weighted less than the next, by `_LEFT` in all.

        A layer tells a batch's own statistics by what it makes of zeros, whatever its momentum.
        """
        share = _LEFT ** (1 / len(self.batches))
        news = [1 - layer.momentum for layer in self._layers for _ in range(2)]
        nothing = [np.zeros_like(value) for value in self._of_weights]
        found = self._of_weights
        for images, *_ in self.batches:
            self._assign(nothing)
            self._look(images)
            of_batch = [value / new for value, new in zip(self._values(), news, strict=True)]
            pairs = zip(found, of_batch, strict=True)
            found = [share * old + (1 - share) * new for old, new in pairs]
        return found

    def _variables(self) -> list[tf.Variable]:
        both = [v for layer in self._layers for v in (layer.moving_mean, layer.moving_variance)]
        return [v.value for v in both]

    def _values(self) -> list[np.ndarray]:
        return [variable.numpy() for variable in self._variables()]

    def _assign(self, values: Sequence[np.ndarray]) -> None:
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value, read_value=False)
