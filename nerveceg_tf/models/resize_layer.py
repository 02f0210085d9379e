"""Resizing inside a model, to and from sizes that are known only when a frame arrives."""

import keras
import tensorflow as tf

from nerveceg_tf.size import Size


def resize(images: tf.Tensor, size: Size | tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Resizes images: area average along an axis that shrinks, linear along one that grows.

    Resizing is linear and separable, so it is two matrix products. That keeps the graph to plain
    operations that TFLite and every other runtime have (`tf.image.resize` with `antialias` is not
    among them), works for sizes known only at run time, has a gradient, and equals
    `nerveceg_tf.data.frame.resize`, which training frames went through.

    Args:
        images: float32 `(batch, height, width, channels)`.
        size: target height and width, as numbers or scalar tensors.

    Returns:
        float32 `(batch, *size, channels)`.
    """
    shape = tf.shape(images)
    rows = _weights(shape[1], size[0])
    columns = _weights(shape[2], size[1])
    by_row = tf.einsum("th,bhwc->btwc", rows, images)
    return tf.einsum("sw,btwc->btsc", columns, by_row)


def _weights(source: tf.Tensor, target: tf.Tensor | int) -> tf.Tensor:
    """Row-stochastic matrix `(target, source)`: how much each source pixel gives to each target."""
    # In units of 1 / (2 * target) of a source pixel every edge and centre is a whole number, which
    # float32 holds exactly up to 2**24. In pixels, rounding would move presence by 1e-4, and
    # otherwise wherever a compiler orders the operations anew.
    source, unit = tf.cast(source, tf.float32), 2 * tf.cast(target, tf.float32)
    position = tf.range(target, dtype=tf.float32)[:, None]
    pixel = tf.range(source)[None, :] * unit
    left, right = position * (2 * source), (position + 1) * (2 * source)
    overlap = tf.minimum(right, pixel + unit) - tf.maximum(left, pixel)
    centre = (2 * position + 1) * source - unit / 2
    centre = tf.clip_by_value(centre, 0.0, (source - 1) * unit)
    nearness = unit - tf.abs(centre - pixel)
    shrinks = 2 * source > unit
    return tf.where(
        shrinks, tf.maximum(overlap, 0.0) / (2 * source), tf.maximum(nearness, 0.0) / unit
    )


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class Resize(keras.layers.Layer):
    """Brings frames of any size to the size, and the number of channels, that a model takes.

    Args:
        height: target height in pixels.
        width: target width in pixels.
        channels: 1, or 3 to repeat the gray channel.

    Input `(batch, any, any, 1)`, output float32 `(batch, height, width, channels)`.
    """

    def __init__(self, height: int, width: int, channels: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.height, self.width, self.channels = height, width, channels

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = resize(tf.cast(images, self.compute_dtype), (self.height, self.width))
        return tf.repeat(images, self.channels, axis=-1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], self.height, self.width, self.channels)

    def get_config(self) -> dict:
        config = super().get_config()
        return {**config, "height": self.height, "width": self.width, "channels": self.channels}
