"""Whether a frame has a nerve, and where: its label in a table, and its mask."""

from typing import NamedTuple

import numpy as np

from nerveceg_tf.data.frame import Frame, read_annotated_mask
from nerveceg_tf.size import Size


class Truth(NamedTuple):
    """What is known of the nerve in a frame.

    Attributes:
        mask: uint8 `(height, width)`, 0 or 1; all 0 for a frame that has only a label.
        present: whether the frame has a nerve.
        has_outline: whether the mask has a nerve pixel, whatever the label.
    """

    mask: np.ndarray
    present: bool
    has_outline: bool


def read_truth(frame: Frame, size: Size) -> Truth:
    """Reads mask and label of a frame, which needs only one of them.

    If both are there and contradict each other, `frame.read_options.labels` says which is right:

    - `"csv"`, the label. The mask of a frame of label 0 is then empty. A frame of label 1 whose
      mask is empty has a nerve at an unknown place.
    - `"mask"` or `None`, the mask.

    Args:
        frame: a labelled frame.
        size: as for `read_mask`.

    Returns:
        The mask, and whether there is a nerve.

    Raises:
        FrameError: as `read_mask`, except if a frame without a mask has a label.
    """
    mask = annotated_mask(frame, size)
    has_outline = bool(mask.any())
    present = has_nerve(frame, has_outline)
    return Truth(mask if present else np.zeros_like(mask), present, has_outline)


def annotated_mask(frame: Frame, size: Size) -> np.ndarray:
    """As `read_mask`, without regard to the label; all 0 for a frame that has only a label."""
    if frame.mask is None and frame.present is not None:
        return np.zeros(size, np.uint8)
    return read_annotated_mask(frame, size)


def has_nerve(frame: Frame, has_outline: bool) -> bool:
    """Returns whether a frame has a nerve, by its label or its mask, whichever decides.

    Args:
        frame: a labelled frame.
        has_outline: whether its mask contains a nerve pixel.
    """
    return has_outline if frame.label is None else frame.label


def contradicts(frame: Frame, has_outline: bool) -> bool:
    """Returns whether the label of a frame contradicts its mask.

    Args:
        frame: a frame.
        has_outline: whether its mask contains a nerve pixel.
    """
    return frame.mask is not None and frame.present not in (None, has_outline)
