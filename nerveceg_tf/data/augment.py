"""What may happen to a frame between two scans of one nerve: pose, gain and contrast."""

import math
from dataclasses import astuple, dataclass

import tensorflow as tf
from keras import ops


@dataclass(frozen=True)
class Augmentation:
    """Random flip, small rotation, zoom and shift, and gain, alike for a frame and its mask.

    Keras has a layer for each. One after the other they resample a frame four times; here their
    product moves it once, which is several times faster and leaves it sharper.

    Attributes:
        flip: share of frames that are mirrored.
        turn: largest rotation either way, in full turns.
        zoom: largest enlargement or reduction.
        shift: largest shift along each side, as a share of the side.
        brightness: largest change of all gray values, as a share of 255.
        contrast: largest change of the distance to the frame's mean gray.
    """

    flip: float = 0.5
    turn: float = 0.03
    zoom: float = 0.12
    shift: float = 0.08
    brightness: float = 0.1
    contrast: float = 0.2

    def times(self, strength: float) -> "Augmentation":
        """The same with all ranges as many times as wide, and as many frames mirrored."""
        flip, *ranges = astuple(self)
        return Augmentation(flip, *(strength * value for value in ranges))

    def __call__(
        self, images: tf.Tensor, masks: tf.Tensor | None, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Augments a batch.

        Args:
            images: float32 `(batch, height, width, 1)`, gray 0..255.
            masks: float32 of the same shape, 0 or 1, or `None`.
            seed: int `(2,)`, which decides everything.

        Returns:
            Images and masks as they came; what was outside of the frame is black before the gain.
        """
        random = tf.random.stateless_uniform((7, tf.shape(images)[0]), seed, -1.0, 1.0)
        both = images if masks is None else tf.concat([images, masks * 255.0], axis=-1)
        moved = ops.image.affine_transform(
            both, self._pose(random[:5], tf.shape(images)), fill_mode="constant", fill_value=0.0
        )
        gained = self._gain(moved[..., :1], random[5:])
        return gained, None if masks is None else tf.cast(moved[..., 1:] > 127.5, tf.float32)

    def _pose(self, random: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
        """For each frame the eight numbers that say where an output pixel comes from."""
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
