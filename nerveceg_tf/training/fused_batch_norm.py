"""Batch normalization as one operation while a model trains."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import keras
import tensorflow as tf


@contextmanager
def fused_batch_norm(model: keras.Model) -> Iterator[None]:
    """Lets the batch normalizations of a model train by TensorFlow's fused operation.

    Keras 3 makes each of some fifty operations, backward pass included: an EfficientNet-Lite0 with
    its 49 of them spends half of its tracing there. The results are the same to rounding. Layers
    with features that the fused operation lacks (another axis, no scale, renormalization,
    statistics over several devices) stay as they are, and so does whatever is saved of the model.

    Args:
        model: traced within.
    """
    fused = [
        layer
        for layer in model.layers
        if type(layer) is keras.layers.BatchNormalization and _fits(layer)
    ]
    corrections: dict = {}
    for layer in fused:
        layer.call = partial(_call, layer, corrections)
    try:
        yield
    finally:
        for layer in fused:
            del layer.call


def _fits(layer: keras.layers.BatchNormalization) -> bool:
    shape = layer.input.shape
    last = layer.axis in (-1, len(shape) - 1)
    plain = layer.scale and layer.center and not layer.renorm and not layer.synchronized
    return len(shape) == 4 and None not in shape[1:] and last and plain


def _call(
    layer: keras.layers.BatchNormalization,
    corrections: dict,
    inputs: tf.Tensor,
    training: bool | None = None,
    mask: None = None,
) -> tf.Tensor:
    if not (training and layer.trainable) or isinstance(inputs, keras.KerasTensor):
        return type(layer).call(layer, inputs, training=training, mask=mask)
    old_mean, old_variance = layer.moving_mean.value, layer.moving_variance.value.read_value()
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=tf.cast(inputs, tf.float32),
        scale=layer.gamma.value,
        offset=layer.beta.value,
        mean=old_mean,
        variance=old_variance,
        epsilon=layer.epsilon,
        exponential_avg_factor=1 - layer.momentum,
        is_training=True,
    )
    new, old = _correction(inputs, layer.momentum, corrections)
    layer.moving_mean.value.assign(mean, read_value=False)
    layer.moving_variance.value.assign(variance * new + old_variance * old, read_value=False)
    return tf.cast(y, layer.compute_dtype)


def _correction(
    inputs: tf.Tensor, momentum: float, corrections: dict
) -> tuple[tf.Tensor, tf.Tensor]:
    """What to weigh the new variance and the old one by: the operation averages variances of n - 1
    degrees of freedom, Keras those of n. Layers of one size share it."""
    _, height, width, _ = inputs.shape
    key = None if tf.executing_eagerly() else inputs.graph, height, width, momentum
    if tf.executing_eagerly() or key not in corrections:
        rest = 1 / tf.cast(tf.shape(inputs)[0] * (height * width), tf.float32)
        corrections[key] = 1 - rest, momentum * rest
    return corrections[key]
