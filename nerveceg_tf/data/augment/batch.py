"""Augments a batch: its geometry first, then its gray values."""

import tensorflow as tf

from nerveceg_tf.data.augment import appearance
from nerveceg_tf.data.augment.augmentation import Augmentation
from nerveceg_tf.data.augment.geometry import move
from nerveceg_tf.data.augment.seeds import effect_seed

_IN_SCANNER = {
    "shadow": appearance.darken,
    "speckle": appearance.multiply_noise,
    "depth_gain": appearance.change_depth_gain,
    "gamma": appearance.change_gamma,
    "blur": appearance.blur,
}
"""By field of `Augmentation`, in the order in which a scan passes them."""


def augment_batch(
    augmentation: Augmentation,
    images: tf.Tensor,
    masks: tf.Tensor | None,
    seed: tf.Tensor,
    soft: bool = False,
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Augments a batch; see `Augmentation.__call__`."""
    random = tf.random.stateless_uniform((7, tf.shape(images)[0]), seed, -1.0, 1.0)
    images, masks = move(augmentation, images, masks, random[:5], seed, soft)
    for effect, change in _IN_SCANNER.items():
        if extent := getattr(augmentation, effect):
            images = change(images, extent, effect_seed(seed, effect))
    brightness, contrast = augmentation.brightness, augmentation.contrast
    images = appearance.change_gray(images, brightness, contrast, random[5:])
    if augmentation.patches:
        seed = effect_seed(seed, "patches")
        images = appearance.remove_patches(images, augmentation.patches, seed)
    return images, masks
