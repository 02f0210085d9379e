"""A copy of a gate whose activations pass only positive gradients back."""

from collections.abc import Callable
from functools import lru_cache

import keras
import tensorflow as tf

_GUIDED = ("relu", "relu6", "silu", "swish")


@lru_cache(maxsize=4)
def guided_copy(model: keras.Model) -> keras.Model:
    """Copies a gate, with the same outputs once its weights are set. Made once for a model."""
    return keras.models.clone_model(model, clone_function=_guided_layer)


def _guided_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, keras.layers.ReLU):
        return keras.layers.Activation(
            _guided(layer.call), name=layer.name, dtype=layer.dtype_policy
        )
    copy = type(layer).from_config(layer.get_config())
    activation = getattr(layer, "activation", None)
    if activation is not None and getattr(activation, "__name__", None) in _GUIDED:
        copy.activation = _guided(activation)
    return copy


def _guided(activation: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor], tf.Tensor]:
    @tf.custom_gradient
    def guided(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = activation(x)

        def back(gradient: tf.Tensor) -> tf.Tensor:
            passing = tf.where((gradient > 0) & (y > 0), gradient, 0.0)
            return tape.gradient(y, x, output_gradients=passing)

        return y, back

    def call(x: tf.Tensor | keras.KerasTensor) -> tf.Tensor | keras.KerasTensor:
        return activation(x) if isinstance(x, keras.KerasTensor) else guided(x)

    return call
