"""Changes how frames look, and leaves where things are.

Each function takes float32 images `(batch, height, width, 1)`, the value of its field of
`Augmentation` and an int `(2,)` seed, and returns images of the same shape. Gray values are 0..255
in what `augment_batch` gets and returns; between effects they may be larger or negative.
"""

import tensorflow as tf

from nerveceg_tf.data.augment.geometry import enlargement

_DEPTH_NODES = 4
"""Depths with a random gain each. Neighbouring sliders of a scanner are seldom far apart."""

_GRAIN = (2, 3)
"""Height and width of a grain of speckle, in pixels. A beam is wider than its pulse is long."""

_GRAIN_DEVIATION = 0.663
"""Standard deviation that linear interpolation to this size leaves of 1."""

_SHADOW_SCALE = 4
"""How many times smaller shadows are computed. They are smooth."""

_PATCHES = 4


def change_gray(
    images: tf.Tensor, brightness: float, contrast: float, random: tf.Tensor
) -> tf.Tensor:
    """Changes the contrast around each frame's mean, then the brightness, within 0..255.

    Args:
        images: float32 `(batch, height, width, 1)`.
        brightness: as of `Augmentation`.
        contrast: as of `Augmentation`.
        random: float32 `(2, batch)`, -1..1.
    """
    factor, offset = (random[i][:, None, None, None] for i in (0, 1))
    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
    factor = 1 + factor * contrast
    gained = images * factor + (mean * (1 - factor) + offset * brightness * 255)
    return tf.clip_by_value(gained, 0.0, 255.0)


def darken(images: tf.Tensor, fraction: float, seed: tf.Tensor) -> tf.Tensor:
    """Puts an acoustic shadow over a fraction of the frames.

    The band starts at the skin, with soft edges. It follows the beams of a probe that is flat (a
    vertical band) or more or less curved (a radial one). It takes away 30 to 80% of the gray value
    in its middle.
    """
    shape = tf.shape(images)
    # Positions are fractions of the frame's height and width.
    y, x = (_middles((n + _SHADOW_SCALE - 1) // _SHADOW_SCALE) for n in (shape[1], shape[2]))
    y = y[:, None]
    random = tf.random.stateless_uniform((5, shape[0], 1, 1), seed)
    start, curve, half_width, darkening = random[0], random[1], 0.03 + 0.1 * random[2], random[3]
    middle = start + (start - 0.5) * curve * y
    distance = tf.abs(x - middle) / (half_width * (1 + curve * y))
    darkening = tf.where(random[4] < fraction, 0.3 + 0.5 * darkening, 0.0)
    light = 1 - darkening * _smooth_step(1.5 * (1 - distance)) * _smooth_step(y / 0.1)
    return images * tf.image.resize(light[..., None], shape[1:3])


def _middles(count: tf.Tensor) -> tf.Tensor:
    """The middles of `count` equal parts of 0..1."""
    return (tf.cast(tf.range(count), tf.float32) + 0.5) / tf.cast(count, tf.float32)


def _smooth_step(x: tf.Tensor) -> tf.Tensor:
    """Rises from 0 at 0 to 1 at 1, without a kink."""
    x = tf.clip_by_value(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)


def multiply_noise(images: tf.Tensor, largest: float, seed: tf.Tensor) -> tf.Tensor:
    """Multiplies each frame by grains of a few pixels. Its standard deviation is at most this."""
    shape = tf.shape(images)
    (high, wide), count = _GRAIN, shape[0]
    grains = (count, (shape[1] + high - 1) // high, (shape[2] + wide - 1) // wide, 1)
    seeds = tf.random.split(seed, 2)
    deviation = tf.random.stateless_uniform((count, 1, 1, 1), seeds[0], 0.0, largest)
    noise = tf.random.stateless_normal(grains, seeds[1]) * (deviation / _GRAIN_DEVIATION)
    return images * tf.maximum(1 + tf.image.resize(noise, shape[1:3]), 0.0)


def change_depth_gain(images: tf.Tensor, largest: float, seed: tf.Tensor) -> tf.Tensor:
    """Multiplies the rows of each frame by a gain that changes smoothly with depth."""
    shape = tf.shape(images)
    nodes = tf.random.stateless_uniform((shape[0], 1, _DEPTH_NODES), seed, -1.0, 1.0)
    by_row = nodes @ tf.transpose(enlargement(_DEPTH_NODES, shape[1]))
    by_row = tf.clip_by_value(by_row, -1.0, 1.0)  # cubic interpolation can go beyond its nodes
    return images * tf.exp(largest * by_row)[:, 0, :, None, None]


def change_gamma(images: tf.Tensor, largest: float, seed: tf.Tensor) -> tf.Tensor:
    """Raises each frame's gray values, as fractions of 255, to a power."""
    shape = (tf.shape(images)[0], 1, 1, 1)
    power = tf.exp(tf.random.stateless_uniform(shape, seed, -largest, largest))
    # Three times as fast as tf.pow. The logarithm of 0 is minus infinity, and comes back as 0.
    return 255 * tf.exp(power * tf.math.log(images / 255))


def blur(images: tf.Tensor, largest: float, seed: tf.Tensor) -> tf.Tensor:
    """Moves each frame towards a blurred copy of it, or away from it, which sharpens it."""
    shape = tf.shape(images)
    part = tf.random.stateless_uniform((shape[0], 1, 1, 1), seed, -largest, largest)
    # Halved and enlarged: a blur by about a pixel, several times as fast as a convolution.
    small = tf.image.resize(images, ((shape[1] + 1) // 2, (shape[2] + 1) // 2))
    return images + part * (tf.image.resize(small, shape[1:3]) - images)


def remove_patches(images: tf.Tensor, fraction: float, seed: tf.Tensor) -> tf.Tensor:
    """Replaces small rectangles by the frame's mean gray value, in a fraction of the frames."""
    shape = tf.shape(images)
    random = tf.random.stateless_uniform((5, shape[0], _PATCHES, 1), seed)
    chosen = random[4, :, :1] < fraction

    def within(middle: tf.Tensor, side: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        return tf.abs(_middles(size) - middle) < 0.02 + 0.06 * side

    rows = tf.cast(within(random[0], random[1], shape[1]) & chosen, tf.float32)
    columns = tf.cast(within(random[2], random[3], shape[2]), tf.float32)
    inside = tf.matmul(rows, columns, transpose_a=True)[..., None] > 0
    return tf.where(inside, tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True), images)
