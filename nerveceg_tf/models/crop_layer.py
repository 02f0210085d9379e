"""Cropping inside a model, of frames whose size is known only when they arrive."""

import keras
import tensorflow as tf

from nerveceg_tf.models.resize_layer import Resize
from nerveceg_tf.size import Size


def crop(images: tf.Tensor, size: Size | tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Cuts a window from the middle of images, at native scale. What lies outside of them is 0.

    Where an even and an odd length meet, the window is half a pixel nearer to the first row or
    column. A second crop to the earlier size puts every pixel back to its place. The results equal
    those of `nerveceg_tf.data.framing.crop`.

    Args:
        images: `(batch, height, width, channels)`, of any float type.
        size: height and width of the window in pixels, as numbers or scalar tensors.

    Returns:
        float32 `(batch, *size, channels)`.

    Example:
        >>> crop(tf.reshape(tf.range(12.0), (1, 3, 4, 1)), (1, 2))[0, ..., 0].numpy()
        array([[5., 6.]], dtype=float32)
    """
    images = tf.cast(images, tf.float32)
    rows, columns = (_cut(images, axis, size[axis - 1]) for axis in (1, 2))
    cut = images[:, rows[0] : rows[1], columns[0] : columns[1]]
    return tf.pad(cut, [[0, 0], rows[2:], columns[2:], [0, 0]])


def _cut(images: tf.Tensor, axis: int, target: int | tf.Tensor) -> tuple:
    """First and last pixel of a side that are kept, and the numbers of zeros before and behind."""
    length = images.shape[axis]
    if length is None or isinstance(target, tf.Tensor):
        length = tf.shape(images)[axis]
        largest, target = tf.maximum, tf.cast(target, tf.int32)
    else:
        largest = max
    surplus, lack = largest(length - target, 0), largest(target - length, 0)
    first = surplus // 2
    return first, first + length - surplus, lack // 2, lack - lack // 2


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class Crop(Resize):
    """Cuts a window from the middle of frames of any size, at native scale.

    Arguments, input and output are those of `Resize`. Where a frame is smaller than the window, the
    window is black, and a mask is 0 outside of the window.
    """

    to_input = staticmethod(crop)
    to_frame = staticmethod(crop)
