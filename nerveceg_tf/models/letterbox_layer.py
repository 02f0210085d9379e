"""Letterboxing inside a model: frames of any size are scaled without changing their shape."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from nerveceg_tf.models.resize_layer import Resize, product, weights
from nerveceg_tf.size import Size


def letterbox(
    images: tf.Tensor,
    size: Size | tuple[tf.Tensor, tf.Tensor],
    bounds: tf.Tensor | None = None,
) -> tf.Tensor:
    """Scales images by one factor until they fit a size. The rest of it is 0.

    Pixels are weighted as `nerveceg_tf.models.resize_layer.resize` does. The results equal those of
    `nerveceg_tf.data.framing.letterbox`, which says how sides are rounded.

    Args:
        images: `(batch, height, width, channels)`, of any float type.
        size: height and width of the result in pixels, as numbers or scalar tensors.
        bounds: the part of each image that is taken, int32 `(batch, 4)`: first row, first column,
            height and width in pixels. `None`: all of it.

    Returns:
        float32 `(batch, *size, channels)`.

    Example:
        >>> letterbox(tf.ones((1, 2, 4, 1)), (4, 4))[0, ..., 0].numpy()
        array([[0., 0., 0., 0.],
               [1., 1., 1., 1.],
               [1., 1., 1., 1.],
               [0., 0., 0., 0.]], dtype=float32)
    """
    image = sides(images)
    begins, lengths = _spans(image, bounds)
    rows, columns = (
        _move(side, begin, length, _middle(outer, inner), inner, outer)
        for side, begin, length, inner, outer in zip(
            image, begins, lengths, fitted(lengths, size), size, strict=True
        )
    )
    return product(rows, columns, images)


def letterbox_back(
    images: tf.Tensor,
    size: Size | tuple[tf.Tensor, tf.Tensor],
    bounds: tf.Tensor | None = None,
) -> tf.Tensor:
    """Brings maps of letterboxed images to the size that the images had.

    Args:
        images: maps, `(batch, height, width, channels)`, of any float type.
        size: height and width of the images before, in pixels, as numbers or scalar tensors.
        bounds: as for `letterbox`.

    Returns:
        float32 `(batch, *size, channels)`. It is 0 outside of the bounds.

    Example:
        >>> maps = letterbox(tf.ones((1, 2, 4, 1)), (4, 4))
        >>> letterbox_back(maps, (2, 4))[0, ..., 0].numpy()
        array([[1., 1., 1., 1.],
               [1., 1., 1., 1.]], dtype=float32)
    """
    box = sides(images)
    begins, lengths = _spans(size, bounds)
    rows, columns = (
        _move(outer, _middle(outer, inner), inner, begin, length, new)
        for outer, inner, begin, length, new in zip(
            box, fitted(lengths, box), begins, lengths, size, strict=True
        )
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


def _spans(image: Sequence[int | tf.Tensor], bounds: tf.Tensor | None) -> tuple:
    """First row and column, and height and width, of what is taken of images."""
    if bounds is None:
        return (0, 0), image
    top, left, height, width = tf.unstack(bounds, 4, axis=1)
    return (top, left), (height, width)


def _middle(outer: int | tf.Tensor, inner: int | tf.Tensor) -> int | tf.Tensor:
    return (outer - inner) // 2


def _move(
    source: int | tf.Tensor,
    source_begin: int | tf.Tensor,
    source_length: int | tf.Tensor,
    target_begin: int | tf.Tensor,
    target_length: int | tf.Tensor,
    target: int | tf.Tensor,
) -> tf.Tensor:
    """The matrix `(target, source)` that resizes a span of a side to a span of another side."""
    position = _numbers(target, target_begin)
    inside = (position >= 0) & (position < tf.cast(target_length, tf.float32)[..., None])
    pixels = _numbers(source, source_begin)
    matrix = weights(source_length, target_length, pixels, position)
    return tf.where(inside[..., None], matrix, 0.0)


def _numbers(length: int | tf.Tensor, begin: int | tf.Tensor) -> tf.Tensor:
    """The numbers of the pixels of a side, where the pixel `begin` has the number 0."""
    begin = tf.convert_to_tensor(begin)[..., None]
    return tf.cast(tf.range(length) - begin, tf.float32)


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class Letterbox(Resize):
    """Scales frames of any size by one factor until they fit the input, in the middle of black.

    Arguments, input and output are those of `Resize`.
    """

    to_input = staticmethod(letterbox)
    to_frame = staticmethod(letterbox_back)
