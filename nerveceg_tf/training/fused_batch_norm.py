"""Batch normalization as one fused operation during training."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import keras
import tensorflow as tf

from nerveceg_tf.utils.private_api import replaced_calls


@contextmanager
def fused_batch_norm(model: keras.Model) -> Iterator[None]:
    """Makes the batch-norm layers of a model use TensorFlow's fused operation in training.

    Keras 3 builds each layer from about fifty operations, with the backward pass. An
    EfficientNet-Lite0 with its 49 batch-norm layers spends half of its tracing time there. The
    results are equal except for rounding.

    Layers with features that the fused operation does not have (another axis, no scale,
    renormalization, statistics over several devices) stay unchanged. A model that is saved also
    stays unchanged.

    Args:
        model: the model; it must be traced inside the block.
    """
    fused = [
        layer
        for layer in model.layers
        if type(layer) is keras.layers.BatchNormalization and _fits(layer)
    ]
    corrections: dict = {}
    with replaced_calls({layer: partial(_call, layer, corrections) for layer in fused}):
        yield


def _fits(layer: keras.layers.BatchNormalization) -> bool:
    shape = layer.input.shape
    is_last_axis = layer.axis in (-1, len(shape) - 1)
    is_plain = layer.scale and layer.center and not layer.renorm and not layer.synchronized
    return len(shape) == 4 and None not in shape[1:] and is_last_axis and is_plain


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
    """The weights of the new and the old variance.

    The fused operation averages variances with n - 1 degrees of freedom, Keras with n. Layers of
    the same size share the result.
    """
    _, height, width, _ = inputs.shape
    key = None if tf.executing_eagerly() else inputs.graph, height, width, momentum
    if tf.executing_eagerly() or key not in corrections:
        rest = 1 / tf.cast(tf.shape(inputs)[0] * (height * width), tf.float32)
        corrections[key] = 1 - rest, momentum * rest
    return corrections[key]
