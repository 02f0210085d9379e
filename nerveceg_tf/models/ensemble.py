"""Several models, or several transforms of a frame, averaged to one output."""

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from nerveceg_tf.models.two_stage import NerveCeg, segment_passing


@dataclass(frozen=True)
class TTATransform:
    """A transform of a frame for test-time augmentation (TTA), and its inverse.

    Attributes:
        mirrored: whether left and right are swapped.
        down: the frame moves down by this share of its height, -1..1. The edge row is repeated.
        right: the frame moves right by this share of its width, -1..1. The edge column is repeated.
    """

    mirrored: bool = False
    down: float = 0.0
    right: float = 0.0

    def apply(self, images: tf.Tensor) -> tf.Tensor:
        """Transforms images `(batch, height, width, 1)`."""
        moved = _moved(images, self.down, self.right)
        return tf.reverse(moved, [2]) if self.mirrored else moved

    def invert(self, masks: tf.Tensor) -> tf.Tensor:
        """Moves masks of transformed images, `(batch, height, width, 1)`, back to the frame."""
        masks = tf.reverse(masks, [2]) if self.mirrored else masks
        return _moved(masks, -self.down, -self.right)


IDENTITY = (TTATransform(),)
TTA_TRANSFORMS = (
    TTATransform(),
    TTATransform(mirrored=True),
    TTATransform(down=0.02, right=0.02),
    TTATransform(down=-0.02, right=-0.02),
)
"""The transforms of test-time augmentation: the frame, its mirror image, and two small shifts."""


class EnsembleModel:
    """The mean of the outputs of several models on several transforms of a frame.

    The segmenters run only on frames whose mean presence reaches the threshold.

    Args:
        members: two-stage models.
        threshold: a mean presence below this, 0..1, gives a mask of exact zeros.
        transforms: the transforms of the frame that each member predicts.

    Example:
        >>> member = NerveCeg(NoGate(), UNet((32, 32, 1), base_filters=2))
        >>> ensemble = EnsembleModel([member], threshold=0.5, transforms=TTA_TRANSFORMS[:2])
        >>> ensemble(tf.zeros((1, 40, 50, 1)))["mask"].shape
        TensorShape([1, 40, 50, 1])
    """

    def __init__(
        self,
        members: Sequence[NerveCeg],
        threshold: float,
        transforms: Sequence[TTATransform] = IDENTITY,
    ):
        self.members, self.threshold, self.transforms = members, threshold, transforms

    def __call__(self, image: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Predicts presence and mask, as a call of `NerveCeg` does.

        Args:
            image: float32 `(batch, height, width, 1)`, gray 0..255.
            training: has no effect. An ensemble cannot be trained.

        Returns:
            `presence`, float32 `(batch, 1)`, and `mask`, float32 `(batch, height, width, 1)`.
        """
        inputs = [(transform, transform.apply(image)) for transform in self.transforms]
        presence = _mean([member.predict_presence(x) for member in self.members for _, x in inputs])

        def predict_masks(passing: tf.Tensor) -> tf.Tensor:
            chosen = [(transform, tf.gather(x, passing)) for transform, x in inputs]
            return _mean(
                [transform.invert(m.segment(x)) for m in self.members for transform, x in chosen]
            )

        return {
            "presence": presence,
            "mask": segment_passing(image, presence, self.threshold, predict_masks),
        }


def _mean(outputs: list[tf.Tensor]) -> tf.Tensor:
    return tf.add_n(outputs) / len(outputs)


def _moved(images: tf.Tensor, down: float, right: float) -> tf.Tensor:
    for axis, share in ((1, down), (2, right)):
        if share:
            length = tf.shape(images)[axis]
            step = tf.cast(tf.round(tf.cast(length, tf.float32) * share), tf.int32)
            sources = tf.clip_by_value(tf.range(length) - step, 0, length - 1)
            images = tf.gather(images, sources, axis=axis)
    return images
