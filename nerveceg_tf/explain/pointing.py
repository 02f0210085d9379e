"""The pointing game: whether a map points at the nerve."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pointing:
    """How well maps point at the bounding boxes of masks.

    Attributes:
        energy: float `(n,)`, share of each map inside the box, 0..1.
        area: float `(n,)`, share of the frame inside the box, 0..1: the energy of an even map.
        hit: bool `(n,)`, whether the largest value of the map is in the box.
    """

    energy: np.ndarray
    area: np.ndarray
    hit: np.ndarray

    @property
    def ratio(self) -> float:
        """Mean energy divided by mean area. An even map has 1."""
        return float(self.energy.mean() / self.area.mean())


def point(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> Pointing:
    """Plays the pointing game, with the energy and with the largest value of each map.

    Args:
        maps: one for each frame, `(height, width, 1)`. The sign is ignored.
        masks: one for each frame, `(height, width, 1)`, not 0 on the nerve.

    Returns:
        The results of the `n` frames that have a nerve and a map other than 0.

    Example:
        >>> mask = np.zeros((4, 4, 1))
        >>> mask[:2, :2] = 1
        >>> result = point([mask + 1], [mask])
        >>> result.energy, result.area, result.ratio
        (array([0.4]), array([0.25]), 1.6)

    Reference:
        Zhang et al.: Top-down Neural Attention by Excitation Backprop (ECCV 2016),
        https://arxiv.org/abs/1608.00507; Wang et al.: Score-CAM (CVPRW 2020),
        https://arxiv.org/abs/1910.01279, for the energy.
    """
    energy, area, hit = [], [], []
    for values, mask in zip(maps, masks, strict=True):
        strength, mask = np.abs(values[..., 0]), mask[..., 0] != 0
        if not mask.any() or not strength.any():
            continue
        box = np.ix_(*(_span(mask.any(axis)) for axis in (1, 0)))
        energy.append(strength[box].sum() / strength.sum())
        area.append(strength[box].size / strength.size)
        hit.append(strength[box].max() == strength.max())
    return Pointing(np.array(energy), np.array(area), np.array(hit, bool))


def _span(line: np.ndarray) -> np.ndarray:
    """Positions from the first to the last true value."""
    positions = np.flatnonzero(line)
    return np.arange(positions[0], positions[-1] + 1)
