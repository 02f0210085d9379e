"""Resizing inside a model, between sizes that are known only when a frame arrives."""

from collections.abc import Callable
from typing import NamedTuple

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
        rows: float32 `(target height, height)`, or one matrix for each image, `(batch, target
            height, height)`.
        columns: float32 `(target width, width)`, or `(batch, target width, width)`.
        images: `(batch, height, width, channels)`, of any float type.

    Returns:
        float32 `(batch, target height, target width, channels)`.
    """
    # float16 is too coarse for the positions of the pixels.
    images = tf.cast(images, tf.float32)
    if rows.shape.rank == 2:
        by_row = tf.einsum("th,bhwc->btwc", rows, images)
        return tf.einsum("sw,btwc->btsc", columns, by_row)
    planes = tf.transpose(images, (0, 3, 1, 2))
    planes = rows[:, None] @ planes @ tf.transpose(columns, (0, 2, 1))[:, None]
    return tf.transpose(planes, (0, 2, 3, 1))


def weights(
    source: tf.Tensor | int,
    target: tf.Tensor | int,
    pixels: tf.Tensor | None = None,
    positions: tf.Tensor | None = None,
) -> tf.Tensor:
    """The matrix that resizes one side: how much each source pixel gives to each target pixel.

    Each argument may have a first axis `(batch, ...)`, if the images differ.

    Args:
        source: number of pixels of the side before.
        target: number of pixels of the side after.
        pixels: float32 `(columns,)`, whole numbers: the number of the source pixel that each column
            is for. By default those of all pixels, in order.
        positions: float32 `(rows,)`, whole numbers: the number of the target pixel that each row is
            for. By default those of all pixels, in order.

    Returns:
        float32 `(rows, columns)`, or `(batch, rows, columns)`, 0..1. What source pixels give to a
        target pixel is 1 in all.
    """
    # The unit is 1 / (2 * target) of a source pixel, so every edge and centre is a whole number.
    # float32 represents whole numbers exactly up to 2**24. In pixels, rounding would change the
    # presence by 1e-4, and differently for each order of the operations that a compiler chooses.
    position = tf.range(target, dtype=tf.float32) if positions is None else positions
    pixel = tf.range(source, dtype=tf.float32) if pixels is None else pixels
    source, target = (tf.cast(n, tf.float32)[..., None, None] for n in (source, target))
    unit = 2 * target
    position, pixel = position[..., :, None], pixel[..., None, :] * unit
    left, right = position * (2 * source), (position + 1) * (2 * source)
    overlap = tf.minimum(right, pixel + unit) - tf.maximum(left, pixel)
    centre = (2 * position + 1) * source - unit / 2
    centre = tf.clip_by_value(centre, 0.0, (source - 1) * unit)
    nearness = unit - tf.abs(centre - pixel)
    shrinks = 2 * source > unit
    return tf.where(
        shrinks, tf.maximum(overlap, 0.0) / (2 * source), tf.maximum(nearness, 0.0) / unit
    )


class Framed(NamedTuple):
    """`to_input` and `to_frame` of a framing, for certain frames."""

    to_input: Callable[..., tf.Tensor]
    to_frame: Callable[..., tf.Tensor]


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
            size of the frames to maps of that size. A framing that `cuts` does not have it: ask
            `within`.
        cuts: whether the part of a frame that is seen depends on its pixels.
    """

    to_input: Callable[..., tf.Tensor] = staticmethod(resize)
    to_frame: Callable[..., tf.Tensor] = staticmethod(resize)
    cuts = False

    @classmethod
    def bounds(cls, frames: tf.Tensor) -> tf.Tensor:
        """The part of each frame that is seen, apart from windows of the model's size.

        Args:
            frames: `(batch, height, width, 1)`, gray 0..255.

        Returns:
            int32 `(batch, 4)`: first row, first column, height and width in pixels.
        """
        shape = tf.shape(frames)
        whole = tf.stack([0, 0, shape[1], shape[2]])
        return tf.tile(whole[None], [shape[0], 1])

    @classmethod
    def within(cls, bounds: tf.Tensor) -> "Framed":
        """How frames with these bounds, as from `bounds`, are brought to an input and back."""
        return Framed(cls.to_input, cls.to_frame)

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
