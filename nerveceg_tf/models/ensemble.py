"""Several models, or one model that looks at a frame several times, as one answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from nerveceg_tf.models.two_stage import NerveCeg, segment_passing


@dataclass(frozen=True)
class TTATransform:
    """One way to look at a frame, and back.

    Attributes:
        mirrored: left and right are swapped.
        down: the frame moves down by this share of its height.
        right: and right by this share of its width; its edge is repeated where it leaves.
    """

    mirrored: bool = False
    down: float = 0.0
    right: float = 0.0

    def apply(self, images: tf.Tensor) -> tf.Tensor:
        """Images `(batch, height, width, 1)` as they are seen."""
        moved = _moved(images, self.down, self.right)
        return tf.reverse(moved, [2]) if self.mirrored else moved

    def invert(self, masks: tf.Tensor) -> tf.Tensor:
        """Masks that were drawn on what was seen, back in the place of the frame."""
        masks = tf.reverse(masks, [2]) if self.mirrored else masks
        return _moved(masks, -self.down, -self.right)


IDENTITY = (TTATransform(),)
TTA_TRANSFORMS = (
    TTATransform(),
    TTATransform(mirrored=True),
    TTATransform(down=0.02, right=0.02),
    TTATransform(down=-0.02, right=-0.02),
)
"""What test-time augmentation looks at: the frame, its mirror image, and two small shifts."""


class EnsembleModel:
    """The mean of what several models say of several transforms, gated as a whole.

    The presences are averaged, and only where the mean reaches the threshold do the segmenters run.

    Args:
        members: two-stage models.
        threshold: mean presence below it gives a mask of exact zeros.
        transforms: how each member looks at a frame.
    """

    def __init__(
        self,
        members: Sequence[NerveCeg],
        threshold: float,
        transforms: Sequence[TTATransform] = IDENTITY,
    ):
        self.members, self.threshold, self.transforms = members, threshold, transforms

    def __call__(self, image: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Answers as `NerveCeg` does for float32 images `(batch, height, width, 1)`; it cannot be
        trained."""
        seen = [(transform, transform.apply(image)) for transform in self.transforms]
        presence = _mean([member.predict_presence(x) for member in self.members for _, x in seen])

        def draw(passing: tf.Tensor) -> tf.Tensor:
            chosen = [(transform, tf.gather(x, passing)) for transform, x in seen]
            return _mean(
                [transform.invert(m.segment(x)) for m in self.members for transform, x in chosen]
            )

        return {
            "presence": presence,
            "mask": segment_passing(image, presence, self.threshold, draw),
        }


def _mean(answers: list[tf.Tensor]) -> tf.Tensor:
    return tf.add_n(answers) / len(answers)


def _moved(images: tf.Tensor, down: float, right: float) -> tf.Tensor:
    for axis, share in ((1, down), (2, right)):
        if share:
            length = tf.shape(images)[axis]
            step = tf.cast(tf.round(tf.cast(length, tf.float32) * share), tf.int32)
            from_ = tf.clip_by_value(tf.range(length) - step, 0, length - 1)
            images = tf.gather(images, from_, axis=axis)
    return images
