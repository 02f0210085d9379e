"""Data augmentation: random changes of pose, brightness and contrast."""

import math
from dataclasses import astuple, dataclass

import tensorflow as tf
from keras import ops


@dataclass(frozen=True)
class Augmentation:
    """Random flip, rotation, zoom, shift, brightness and contrast of frames and their masks.

    A frame and its mask get the same pose. Brightness and contrast change the frame only.

    Keras has one layer for each of these. In sequence, they resample a frame four times. This class
    combines the transforms and resamples once, which is several times faster and blurs less.

    Attributes:
        flip: fraction of frames that are mirrored left to right, 0..1.
        turn: largest rotation in either direction, in full turns, 0..0.5.
        zoom: largest relative enlargement or reduction, 0..1.
        shift: largest shift along each axis, as a fraction of that axis, 0..1.
        brightness: largest change of all gray values, as a fraction of 255, 0..1.
        contrast: largest relative change of the distance to the frame's mean gray value, 0..1.

    Example:
        >>> import tensorflow as tf
        >>> augment = Augmentation(turn=0.05, shift=0.1)
        >>> images, masks = tf.fill((2, 32, 48, 1), 100.0), tf.ones((2, 32, 48, 1))
        >>> images, masks = augment(images, masks, seed=(1, 2))
        >>> tuple(images.shape), tuple(masks.shape)
        ((2, 32, 48, 1), (2, 32, 48, 1))
    """

    flip: float = 0.5
    turn: float = 0.03
    zoom: float = 0.12
    shift: float = 0.08
    brightness: float = 0.1
    contrast: float = 0.2

    def times(self, strength: float) -> "Augmentation":
        """Multiplies every range by `strength`; the fraction of mirrored frames stays the same.

        Args:
            strength: float, 0 or more. 1 changes nothing; 0 leaves only the mirroring.

        Returns:
            A new `Augmentation`.

        Example:
            >>> Augmentation(turn=0.02).times(2).turn
            0.04
        """
        flip, *ranges = astuple(self)
        return Augmentation(flip, *(strength * value for value in ranges))

    def __call__(
        self, images: tf.Tensor, masks: tf.Tensor | None, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Augments a batch.

        Args:
            images: float32 `(batch, height, width, 1)`, gray 0..255.
            masks: float32 `(batch, height, width, 1)`, 0 or 1; or `None`.
            seed: int `(2,)`. The same seed gives the same result.

        Returns:
            Images and masks of the same shape, dtype and range. Masks are `None` if the argument
            was `None`. Pixels from outside the frame are black before brightness and contrast
            change.
        """
        random = tf.random.stateless_uniform((7, tf.shape(images)[0]), seed, -1.0, 1.0)
        both = images if masks is None else tf.concat([images, masks * 255.0], axis=-1)
        moved = ops.image.affine_transform(
            both, self._pose(random[:5], tf.shape(images)), fill_mode="constant", fill_value=0.0
        )
        gained = self._gain(moved[..., :1], random[5:])
        return gained, None if masks is None else tf.cast(moved[..., 1:] > 127.5, tf.float32)

    def _pose(self, random: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
        """Returns the eight parameters of each frame's projective transform, output to input."""
        height, width = tf.cast(shape[1], tf.float32), tf.cast(shape[2], tf.float32)
        mirror = tf.where(random[0] < 2 * self.flip - 1, -1.0, 1.0)
        angle = random[1] * self.turn * 2 * math.pi
        scale = 1 + random[2] * self.zoom
        cos, sin = tf.cos(angle) * scale, tf.sin(angle) * scale
        middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
        from_x = middle_x + random[3] * self.shift * width
        from_y = middle_y + random[4] * self.shift * height
        rows = [
            cos * mirror,
            -sin,
            from_x - cos * mirror * middle_x + sin * middle_y,
            sin * mirror,
            cos,
            from_y - sin * mirror * middle_x - cos * middle_y,
        ]
        zeros = tf.zeros_like(cos)
        return tf.stack([*rows, zeros, zeros], axis=-1)

    def _gain(self, images: tf.Tensor, random: tf.Tensor) -> tf.Tensor:
        factor, offset = (random[i][:, None, None, None] for i in (0, 1))
        mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
        factor = 1 + factor * self.contrast
        gained = images * factor + (mean * (1 - factor) + offset * self.brightness * 255)
        return tf.clip_by_value(gained, 0.0, 255.0)


AUGMENTATION = Augmentation()
