"""Resizing inside a model, between sizes that are known only when a frame arrives."""

import keras
import tensorflow as tf

from nerveceg_tf.size import Size


def resize(images: tf.Tensor, size: Size | tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Resizes images: area average along an axis that shrinks, linear along one that grows.

    Resizing is linear and separable, so it is two matrix products. The graph then has only plain
    operations, which TFLite and every other runtime have. (They do not have `tf.image.resize` with
    `antialias`.) It works for sizes that are known only at run time, and it has a gradient. Its
    results equal those of `nerveceg_tf.data.resize.resize`, which resizes the training frames.

    Args:
        images: `(batch, height, width, channels)`, of any float type.
        size: target height and width in pixels, as numbers or scalar tensors.

    Returns:
        float32 `(batch, *size, channels)`.

    Example:
        >>> resize(tf.ones((1, 4, 6, 1)), (2, 3)).shape
        TensorShape([1, 2, 3, 1])
    """
    shape = tf.shape(images)
    rows = weights(shape[1], size[0])
    columns = weights(shape[2], size[1])
    return product(rows, columns, images)


def product(rows: tf.Tensor, columns: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Multiplies images by a matrix of `weights` from each side.

    Args:
        rows: float32 `(target height, height)`.
        columns: float32 `(target width, width)`.
        images: `(batch, height, width, channels)`, of any float type.

    Returns:
        float32 `(batch, target height, target width, channels)`.
    """
    # float16 is too coarse for the positions of the pixels.
    by_row = tf.einsum("th,bhwc->btwc", rows, tf.cast(images, tf.float32))
    return tf.einsum("sw,btwc->btsc", columns, by_row)


def weights(
    source: tf.Tensor | int,
    target: tf.Tensor | int,
    pixels: tf.Tensor | None = None,
    positions: tf.Tensor | None = None,
) -> tf.Tensor:
    """The matrix that resizes one side: how much each source pixel gives to each target pixel.

    Args:
        source: number of pixels of the side before.
        target: number of pixels of the side after.
        pixels: float32 `(columns,)`, whole numbers: the number of the source pixel that each column
            is for. By default those of all pixels, in order.
        positions: float32 `(rows,)`, whole numbers: the number of the target pixel that each row is
            for. By default those of all pixels, in order.

    Returns:
        float32 `(rows, columns)`, 0..1. What source pixels give to a target pixel is 1 in all.
    """
    # The unit is 1 / (2 * target) of a source pixel, so every edge and centre is a whole number.
    # float32 represents whole numbers exactly up to 2**24. In pixels, rounding would change the
    # presence by 1e-4, and differently for each order of the operations that a compiler chooses.
    position = tf.range(target, dtype=tf.float32) if positions is None else positions
    source, unit = tf.cast(source, tf.float32), 2 * tf.cast(target, tf.float32)
    position = position[:, None]
    pixel = (tf.range(source) if pixels is None else pixels)[None, :] * unit
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
    """Brings frames of any size to the size and the number of channels that a model takes.

    The computation is in float32 under every dtype policy.

    Args:
        height: target height in pixels.
        width: target width in pixels.
        channels: 1, or 3 to repeat the gray channel.

    Input: `(batch, any, any, 1)`. Output: `(batch, height, width, channels)` in the layer's compute
    dtype: float32, except under a policy of mixed precision.

    Attributes:
        to_input: function from frames `(batch, any, any, channels)` and a size to frames of that
            size.
        to_frame: function from the maps of a model, `(batch, height, width, channels)`, and the
            size of the frames to maps of that size.
    """

    to_input = staticmethod(resize)
    to_frame = staticmethod(resize)

    def __init__(self, height: int, width: int, channels: int = 1, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.height, self.width, self.channels = height, width, channels

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = self.to_input(images, (self.height, self.width))
        return tf.cast(tf.repeat(images, self.channels, axis=-1), self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], self.height, self.width, self.channels)

    def get_config(self) -> dict:
        config = super().get_config()
        return {**config, "height": self.height, "width": self.width, "channels": self.channels}
