"""A warning for trainings that end with masks that miss every nerve."""

import warnings
from collections.abc import Mapping

from nerveceg_tf.errors import NervecegWarning

_MISSED = 0.001
"""The mean Dice of frames with a nerve, below which their nerves count as missed."""


def warn_if_collapsed(stage: str, dice: Mapping[int, float], best: int) -> None:
    """Warns if no mask met a nerve of the validation frames in the last epoch, or in that whose
    weights are kept.

    Args:
        stage: what was trained, for the message.
        dice: the mean Dice of the validation frames with a nerve, by epoch, counted from 1.
        best: the epoch whose weights are kept.
    """
    met = [epoch for epoch, value in dice.items() if value >= _MISSED]
    if not dice or {max(dice), best} <= {*met}:
        return
    if met:
        problem = (
            f"no mask of the {stage} met a nerve of the validation frames in the last epoch or in"
            f" the best; the weights are those of epoch {best} (Dice {dice[best]:.3f})"
        )
    else:
        problem = f"no mask of the {stage} met a nerve of the validation frames in any epoch"
    warnings.warn(
        f"{problem}; train longer, or with another segmenter_learning_rate, seed or"
        " segmenter_frames",
        NervecegWarning,
        stacklevel=3,
    )
