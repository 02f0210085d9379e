"""Random numbers of each effect."""

from zlib import crc32

import tensorflow as tf


def effect_seed(seed: tf.Tensor, effect: str) -> tf.Tensor:
    """A seed for one effect, so that it gets the same numbers whatever other effects are on.

    Args:
        seed: int `(2,)`, the seed of the batch.
        effect: the name of the effect.

    Returns:
        A seed of the same shape and dtype.
    """
    return tf.random.fold_in(seed, crc32(effect.encode()) & 0x7FFFFFFF)
