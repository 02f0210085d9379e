"""Several models, or one model that looks at a frame several times, as one answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from nerveceg_tf.models.two_stage import NerveCeg, draw_passing


@dataclass(frozen=True)
class View:
    """One way to look at a frame, and back.

    Attributes:
        mirrored: left and right are swapped.
        down: the frame moves down by this share of its height.
        right: and right by this share of its width; its edge is repeated where it leaves.
    """

    mirrored: bool = False
    down: float = 0.0
    right: float = 0.0

    def look(self, images: tf.Tensor) -> tf.Tensor:
        """Images `(batch, height, width, 1)` as they are seen."""
        moved = _moved(images, self.down, self.right)
        return tf.reverse(moved, [2]) if self.mirrored else moved

    def undo(self, masks: tf.Tensor) -> tf.Tensor:
        """Masks that were drawn on what was seen, back in the place of the frame."""
        masks = tf.reverse(masks, [2]) if self.mirrored else masks
        return _moved(masks, -self.down, -self.right)


AS_IT_IS = (View(),)
VIEWS = (View(), View(mirrored=True), View(down=0.02, right=0.02), View(down=-0.02, right=-0.02))
"""What test-time augmentation looks at: the frame, its mirror image, and two small shifts."""


class Averaged:
    """The mean of what several models say of several views, gated as a whole.

    The presences are averaged, and only where the mean reaches the threshold do the segmenters run.

    Args:
        members: two-stage models.
        threshold: mean presence below it gives a mask of exact zeros.
        views: how each member looks at a frame.
    """

    def __init__(
        self, members: Sequence[NerveCeg], threshold: float, views: Sequence[View] = AS_IT_IS
    ):
        self.members, self.threshold, self.views = members, threshold, views

    def __call__(self, image: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Answers as `NerveCeg` does for float32 images `(batch, height, width, 1)`; it cannot be
        trained."""
        seen = [(view, view.look(image)) for view in self.views]
        presence = _mean([member.detect(x) for member in self.members for _, x in seen])

        def draw(passing: tf.Tensor) -> tf.Tensor:
            chosen = [(view, tf.gather(x, passing)) for view, x in seen]
            return _mean([view.undo(m.segment(x)) for m in self.members for view, x in chosen])

        return {"presence": presence, "mask": draw_passing(image, presence, self.threshold, draw)}


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
