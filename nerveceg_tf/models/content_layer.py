"""Cutting black borders off frames inside a model, and letterboxing what is left."""

from functools import partial

import keras
import tensorflow as tf

from nerveceg_tf.models.letterbox_layer import letterbox, letterbox_back
from nerveceg_tf.models.resize_layer import Framed, Resize
from nerveceg_tf.size import Size
from nerveceg_tf.utils.black_borders import BLACK, SHARE


def content_bounds(frames: tf.Tensor) -> tf.Tensor:
    """The part of each frame that is not border, as `nerveceg_tf.data.framing.content_bounds`.

    Args:
        frames: `(batch, height, width, 1)`, gray 0..255.

    Returns:
        int32 `(batch, 4)`: first row, first column, height and width in pixels.

    Example:
        >>> frame = tf.pad(tf.fill((1, 3, 5, 1), 99), [[0, 0], [1, 0], [2, 1], [0, 0]])
        >>> content_bounds(frame).numpy()
        array([[1, 2, 3, 5]], dtype=int32)
    """
    bright = tf.cast(tf.cast(frames, tf.float32) > BLACK, tf.int32)[..., 0]
    shape = tf.shape(bright)
    spans = [_span(tf.reduce_sum(bright, across) * SHARE >= shape[across]) for across in (2, 1)]
    found = tf.logical_and(*(length > 0 for _, length in spans))
    (top, height), (left, width) = spans
    return tf.stack(
        [
            tf.where(found, top, 0),
            tf.where(found, left, 0),
            tf.where(found, height, shape[1]),
            tf.where(found, width, shape[2]),
        ],
        axis=1,
    )


def _span(counts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """First position that counts, and the number from there to the last one; below 1 if none."""
    length = tf.shape(counts)[1]
    position = tf.range(length)[None]
    first = tf.reduce_min(tf.where(counts, position, length), axis=1)
    last = tf.reduce_max(tf.where(counts, position, -1), axis=1)
    return first, last + 1 - first


def content(images: tf.Tensor, size: Size | tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Cuts black borders off frames, and letterboxes what is left.

    The results equal those of `nerveceg_tf.data.framing.content`.

    Args:
        images: `(batch, height, width, 1)`, gray 0..255.
        size: height and width of the result in pixels, as numbers or scalar tensors.

    Returns:
        float32 `(batch, *size, 1)`.

    Example:
        >>> content(tf.pad(tf.fill((1, 2, 2, 1), 99), [[0, 0], [1, 3], [0, 0], [0, 0]]), (1, 2))
        <tf.Tensor: shape=(1, 1, 2, 1), dtype=float32, numpy=...
    """
    return letterbox(images, size, content_bounds(images))


@keras.saving.register_keras_serializable(package="nerveceg_tf")
class Content(Resize):
    """Cuts black borders off frames of any size, and letterboxes what is left.

    Arguments, input and output are those of `Resize`. A mask is 0 in the borders.
    """

    to_input = staticmethod(content)
    cuts = True

    @staticmethod
    def to_frame(*_):
        raise TypeError("the way back depends on the frame: call within(bounds)")

    @classmethod
    def bounds(cls, frames: tf.Tensor) -> tf.Tensor:
        return content_bounds(frames)

    @classmethod
    def within(cls, bounds: tf.Tensor) -> Framed:
        return Framed(partial(letterbox, bounds=bounds), partial(letterbox_back, bounds=bounds))
