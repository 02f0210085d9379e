"""What may happen to a frame between two scans of one nerve: pose, gain and contrast."""

import keras
import tensorflow as tf


class Augmentation:
    """Random flips, small rotations, shifts and zooms, and gain, alike for a frame and its mask.

    Images and masks are float32 `(batch, height, width, 1)`: gray 0..255, and 0 or 1.
    """

    def __init__(self, seed: int = 0):
        layers = keras.layers
        self._pose = [
            layers.RandomFlip("horizontal", seed=seed),
            layers.RandomRotation(0.03, fill_mode="constant", seed=seed + 1),
            layers.RandomZoom((-0.12, 0.12), fill_mode="constant", seed=seed + 2),
            layers.RandomTranslation(0.08, 0.08, fill_mode="constant", seed=seed + 3),
        ]
        self._gain = [
            layers.RandomBrightness(0.1, seed=seed + 4),
            layers.RandomContrast(0.2, value_range=(0, 255), seed=seed + 5),
        ]

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Augments images alone."""
        for layer in (*self._pose, *self._gain):
            images = layer(images, training=True)
        return images

    def with_masks(self, images: tf.Tensor, masks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Augments images and masks together; masks stay 0 or 1."""
        both = {"images": images, "segmentation_masks": masks}
        for layer in (*self._pose, *self._gain):
            both = layer(both, training=True)
        return both["images"], both["segmentation_masks"]
