"""Moves frames and their masks, in one resampling."""

import math

import tensorflow as tf
from keras import ops

from nerveceg_tf.data.augment.augmentation import Augmentation
from nerveceg_tf.data.augment.seeds import effect_seed

_NODES = 4
"""Rows and columns of the grid of random displacements. More nodes make finer warps, which fold
sooner."""


def move(
    augmentation: Augmentation,
    images: tf.Tensor,
    masks: tf.Tensor | None,
    random: tf.Tensor,
    seed: tf.Tensor,
    soft: bool = False,
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Changes the geometry of frames and masks.

    Args:
        augmentation: how far.
        images: float32 `(batch, height, width, 1)`, gray 0..255.
        masks: float32 of the same shape, 0 or 1, or with `soft` 0..1; or `None`.
        random: float32 `(5, batch)`, -1..1, for `pose`.
        seed: int `(2,)`, for shear, stretch and warp.
        soft: keep the values between 0 and 1 that masks have after they were moved.

    Returns:
        Images and masks of the same shape, dtype and range; black, or 0, outside the frame.
    """
    transforms = pose(augmentation, random, tf.shape(images), seed)
    masks = None if masks is None else masks * 255.0
    if augmentation.elastic:
        images, masks = _warp(images, masks, transforms, augmentation.elastic, seed)
    else:
        both = images if masks is None else tf.concat([images, masks], axis=-1)
        moved = ops.image.affine_transform(both, transforms, fill_mode="constant", fill_value=0.0)
        images, masks = moved[..., :1], None if masks is None else moved[..., 1:]
    if masks is None:
        return images, None
    return images, masks / 255.0 if soft else tf.cast(masks > 127.5, tf.float32)


def pose(
    augmentation: Augmentation, random: tf.Tensor, shape: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Chooses the pose of each frame.

    Args:
        augmentation: how far frames are moved.
        random: float32 `(5, batch)`, -1..1.
        shape: int `(4,)`, the shape of the batch.
        seed: int `(2,)`, for shear and stretch.

    Returns:
        float32 `(batch, 8)`: the parameters of a projective transform, output to input.
    """
    height, width = tf.cast(shape[1], tf.float32), tf.cast(shape[2], tf.float32)
    mirror = tf.where(random[0] < 2 * augmentation.flip - 1, -1.0, 1.0)
    angle = random[1] * augmentation.turn * 2 * math.pi
    scale = 1 + random[2] * augmentation.zoom
    cos, sin = tf.cos(angle) * scale, tf.sin(angle) * scale
    # From output x and y to input x (first row) and y (second row).
    xx, xy, yx, yy = cos * mirror, -sin, sin * mirror, cos
    if augmentation.stretch:
        half = augmentation.stretch / 2 * _uniform(seed, "stretch", shape)
        xx, xy, yx, yy = xx * (1 + half), xy * (1 - half), yx * (1 + half), yy * (1 - half)
    if augmentation.shear:
        tangent = augmentation.shear * _uniform(seed, "shear", shape)
        xy, yy = xy + tangent * xx, yy + tangent * yx
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    from_x = middle_x + random[3] * augmentation.shift * width
    from_y = middle_y + random[4] * augmentation.shift * height
    zeros = tf.zeros_like(cos)
    rows = [
        *(xx, xy, from_x - xx * middle_x - xy * middle_y),
        *(yx, yy, from_y - yx * middle_x - yy * middle_y),
    ]
    return tf.stack([*rows, zeros, zeros], axis=-1)


def _uniform(seed: tf.Tensor, effect: str, shape: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform((shape[0],), effect_seed(seed, effect), -1.0, 1.0)


def _warp(
    images: tf.Tensor,
    masks: tf.Tensor | None,
    transforms: tf.Tensor,
    elastic: float,
    seed: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Applies a pose and a smooth random warp, with bilinear interpolation."""
    shape = tf.shape(images)
    height, width = shape[1], shape[2]
    rows, columns = (tf.cast(tf.range(n), tf.float32) for n in (height, width))
    warp = _displacements(shape, seed) * (elastic * tf.cast(tf.minimum(height, width), tf.float32))
    linear = transforms[:, :, None, None]
    x = linear[:, 0] * columns + linear[:, 1] * rows[:, None] + linear[:, 2] + warp[0]
    y = linear[:, 3] * columns + linear[:, 4] * rows[:, None] + linear[:, 5] + warp[1]
    if masks is None:
        return _sample(images[..., 0], x, y)[..., None], None
    # One complex number holds both channels. That is faster than a last axis of two.
    sampled = _sample(tf.complex(images[..., 0], masks[..., 0]), x, y)
    return tf.math.real(sampled)[..., None], tf.math.imag(sampled)[..., None]


def _displacements(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Smooth random fields, float32 `(2, batch, height, width)`, -1..1."""
    nodes = (2, shape[0], _NODES, _NODES)
    grid = tf.random.stateless_uniform(nodes, effect_seed(seed, "elastic"), -1.0, 1.0)
    down, across = enlargement(_NODES, shape[1]), enlargement(_NODES, shape[2])
    # Cubic interpolation can go beyond its nodes.
    return tf.clip_by_value(down @ grid @ tf.transpose(across), -1.0, 1.0)


def enlargement(nodes: int, size: tf.Tensor) -> tf.Tensor:
    """The matrix that enlarges values at a few nodes to `size` values, smoothly.

    Args:
        nodes: number of nodes.
        size: int `()`, number of values.

    Returns:
        float32 `(size, nodes)`: weights of bicubic interpolation.
    """
    weights = tf.image.resize(tf.eye(nodes)[..., None], (size, nodes), "bicubic")
    return tf.ensure_shape(weights[..., 0], (None, nodes))


def _sample(images: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Reads images at real positions, with 0 outside.

    Args:
        images: float32 or complex64 `(batch, height, width)`.
        x: float32 of the same shape, columns.
        y: float32 of the same shape, rows.

    Returns:
        An array of the dtype and shape of `images`.
    """
    shape = tf.shape(images)
    height, width = shape[1], shape[2]
    # Zeros around; two at the end, because a position on the first of them has a neighbour too.
    padded = tf.pad(images, ((0, 0), (1, 2), (1, 2)))
    x = tf.clip_by_value(x, -1.0, tf.cast(width, tf.float32)) + 1
    y = tf.clip_by_value(y, -1.0, tf.cast(height, tf.float32)) + 1
    left, top = tf.floor(x), tf.floor(y)
    stride = width + 3
    corner = tf.cast(top, tf.int32) * stride + tf.cast(left, tf.int32)
    corner += tf.range(shape[0])[:, None, None] * (height + 3) * stride
    values = tf.reshape(padded, (-1,))
    right, below = tf.cast(x - left, images.dtype), tf.cast(y - top, images.dtype)

    def between_columns(row: int | tf.Tensor) -> tf.Tensor:
        first, second = tf.gather(values, corner + row), tf.gather(values, corner + row + 1)
        return first + (second - first) * right

    upper = between_columns(0)
    return upper + (between_columns(stride) - upper) * below
