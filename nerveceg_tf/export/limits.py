"""What an export may lose against its run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What an export may lose against its run.

    Attributes:
        presence: largest difference of a presence.
        mask: largest difference of a pixel's probability, in frames where the gates agree.
        nerve_dice: how far the Dice on frames with a nerve may fall.
        gate_auc: how far the gate's ROC AUC may fall.
    """

    presence: float = 1.0
    mask: float = 1.0
    nerve_dice: float = 0.01
    gate_auc: float = 0.01


_EXACT = Limits(presence=1e-3, mask=1e-3)
"""For an export that keeps the weights as they are: what differs is the order of operations."""


def default_limits(precision: str) -> Limits:
    """What an export of some precision may lose."""
    return _EXACT if precision == "float32" else Limits()
