"""Letterboxing inside a model: frames of any size are scaled without changing their shape."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from nerveceg_tf.models.resize_layer import Resize, product, weights
from nerveceg_tf.size import Size


def letterbox(images: tf.Tensor, size: Size | tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Scales images by one factor until they fit a size. The rest of it is 0.

    Pixels are weighted as `nerveceg_tf.models.resize_layer.resize` does. The results equal those of
    `nerveceg_tf.data.framing.letterbox`, which says how sides are rounded.

    Args:
        images: `(batch, height, width, channels)`, of any float type.
        size: height and width of the result in pixels, as numbers or scalar tensors.

    Returns:
        float32 `(batch, *size, channels)`.

    Example:
        >>> letterbox(tf.ones((1, 2, 4, 1)), (4, 4))[0, ..., 0].numpy()
        array([[0., 0., 0., 0.],
               [1., 1., 1., 1.],
               [1., 1., 1., 1.],
               [0., 0., 0., 0.]], dtype=float32)
    """
    frame = sides(images)
    rows, columns = (
        _enlarge(old, inner, outer)
        for old, inner, outer in zip(frame, fitted(frame, size), size, strict=True)
    )
    return product(rows, columns, images)


def letterbox_back(images: tf.Tensor, size: Size | tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Brings maps of letterboxed images to the size that the images had.

    Args:
        images: maps, `(batch, height, width, channels)`, of any float type.
        size: height and width of the images before, in pixels, as numbers or scalar tensors.

    Returns:
        float32 `(batch, *size, channels)`.

    Example:
        >>> maps = letterbox(tf.ones((1, 2, 4, 1)), (4, 4))
        >>> letterbox_back(maps, (2, 4))[0, ..., 0].numpy()
        array([[1., 1., 1., 1.],
               [1., 1., 1., 1.]], dtype=float32)
    """
    box = sides(images)
    rows, columns = (
        _cut_out(outer, inner, new)
        for outer, inner, new in zip(box, fitted(size, box), size, strict=True)
    )
    return product(rows, columns, images)


def sides(images: tf.Tensor) -> list[int | tf.Tensor]:
    """Height and width of images, as numbers where they are known."""
    dynamic = tf.shape(images)
    return [known or dynamic[axis] for axis, known in enumerate(images.shape) if axis in (1, 2)]


def fitted(
    frame: Sequence[int | tf.Tensor], size: Sequence[int | tf.Tensor]
) -> list[int | tf.Tensor]:
    """Height and width that a frame has in a letterbox, as `nerveceg_tf.data.framing.fitted`."""
    (height, width), (most_rows, most_columns) = frame, size
    return [
        _within(most_rows, (2 * height * most_columns + width) // (2 * width)),
        _within(most_columns, (2 * width * most_rows + height) // (2 * height)),
    ]


def _within(most: int | tf.Tensor, side: int | tf.Tensor) -> int | tf.Tensor:
    if isinstance(most, int) and isinstance(side, int):
        return min(most, max(1, side))
    return tf.minimum(most, tf.maximum(1, side))


def _enlarge(source: int | tf.Tensor, inner: int | tf.Tensor, outer: int | tf.Tensor) -> tf.Tensor:
    """The matrix `(outer, source)` that resizes a side to `inner`, with zeros on both ends."""
    position = _numbers(outer, (outer - inner) // 2)
    inside = (position >= 0) & (position < tf.cast(inner, tf.float32))
    return tf.where(inside[:, None], weights(source, inner, positions=position), 0.0)


def _cut_out(outer: int | tf.Tensor, inner: int | tf.Tensor, target: int | tf.Tensor) -> tf.Tensor:
    """The matrix `(target, outer)` that resizes the middle of a side, `inner`, to `target`."""
    return weights(inner, target, pixels=_numbers(outer, (outer - inner) // 2))


def _numbers(length: int | tf.Tensor, first: int | tf.Tensor) -> tf.Tensor:
    """The numbers of pixels, where the pixel `first` has the number 0."""
    return tf.cast(tf.range(length) - first, tf.float32)


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class Letterbox(Resize):
    """Scales frames of any size by one factor until they fit the input, in the middle of black.

    Arguments, input and output are those of `Resize`.
    """

    to_input = staticmethod(letterbox)
    to_frame = staticmethod(letterbox_back)
