"""Whether a map points at the nerve."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pointing:
    """How well maps point at the boxes around masks, of the frames that have both.

    Attributes:
        energy: `(n,)`, share of each map within its box, 0..1.
        area: `(n,)`, the box's share of the frame: what an even map reaches.
        hit: bool `(n,)`, whether the map's largest value is in the box.
    """

    energy: np.ndarray
    area: np.ndarray
    hit: np.ndarray

    @property
    def ratio(self) -> float:
        """Mean energy over mean area: 1 for a map that knows nothing."""
        return float(self.energy.mean() / self.area.mean())


def point(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> Pointing:
    """Plays the pointing game, with energy as well as with the largest value.

    Args:
        maps: of each frame `(height, width, 1)`, of either sign; the sign does not count.
        masks: of each frame `(height, width, 1)`, not 0 where the nerve is. Frames without a nerve,
            and maps of zeros alone, are left out.

    Reference:
        Zhang et al.: Top-down Neural Attention by Excitation Backprop (ECCV 2016),
        https://arxiv.org/abs/1608.00507; Wang et al.: Score-CAM (CVPRW 2020),
        https://arxiv.org/abs/1910.01279, for the energy.
    """
    energy, area, hit = [], [], []
    for heat, mask in zip(maps, masks, strict=True):
        heat, mask = np.abs(heat[..., 0]), mask[..., 0] != 0
        if not mask.any() or not heat.any():
            continue
        box = np.ix_(*(_span(mask.any(axis)) for axis in (1, 0)))
        energy.append(heat[box].sum() / heat.sum())
        area.append(heat[box].size / heat.size)
        hit.append(heat[box].max() == heat.max())
    return Pointing(np.array(energy), np.array(area), np.array(hit, bool))


def _span(line: np.ndarray) -> np.ndarray:
    """From the first to the last true position."""
    found = np.flatnonzero(line)
    return np.arange(found[0], found[-1] + 1)
