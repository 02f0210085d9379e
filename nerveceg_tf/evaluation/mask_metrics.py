"""How much a drawn mask overlaps the true one, and how far its outline lies from it in pixels."""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt

_TOLERANCES = (2, 5)
"""Pixels within which outlines count as equal, in surface Dice."""


def dice_score(truth: np.ndarray, drawn: np.ndarray) -> float:
    """Dice of two masks `(height, width)`, not 0 is nerve; 1 for empty against empty."""
    truth, drawn = truth != 0, drawn != 0
    total = truth.sum() + drawn.sum()
    return float(2 * (truth & drawn).sum() / total) if total else 1.0


class Outlines(NamedTuple):
    """How well the outlines of two masks agree, in numbers equal to those of MONAI 1.6.

    An outline is those pixels of a mask of which a direct neighbour (left, right, above, below) is
    not of it, or lies outside the frame.

    Attributes:
        hausdorff_95: in pixels; of the distances from one outline's pixels to the other the 95th
            percentile, of those from the other to the one too, and of these two the larger (as
            also DeepMind's surface-distance and Metrics Reloaded take it). NaN where a mask is
            empty.
        surface_distance: the mean of all of these distances (average symmetric surface distance),
            in pixels; NaN where a mask is empty.
        surface_dice_2: share of both outlines' pixels that lie within 2 pixels of the other
            (normalised surface Dice), 0..1; 0 where one mask is empty, NaN where both are.
        surface_dice_5: the same within 5 pixels.

    Reference:
        Maier-Hein et al.: Metrics Reloaded (Nature Methods 2024), https://arxiv.org/abs/2206.01653;
        Nikolov et al.: Clinically applicable segmentation of head and neck anatomy (2021, surface
        Dice), https://arxiv.org/abs/1809.04430
    """

    hausdorff_95: float
    surface_distance: float
    surface_dice_2: float
    surface_dice_5: float


def outline_distances(truth: np.ndarray, drawn: np.ndarray) -> Outlines:
    """Compares the outlines of two masks.

    Args:
        truth: `(height, width)`, not 0 is nerve.
        drawn: the same.
    """
    truth, drawn = truth != 0, drawn != 0
    if not truth.any() or not drawn.any():
        surface_dice = 0.0 if truth.any() or drawn.any() else np.nan
        return Outlines(np.nan, np.nan, surface_dice, surface_dice)
    rows, columns = np.nonzero(truth | drawn)
    window = (
        slice(max(rows.min() - 1, 0), rows.max() + 2),
        slice(max(columns.min() - 1, 0), columns.max() + 2),
    )
    one, other = (mask[window] & ~binary_erosion(mask[window]) for mask in (truth, drawn))
    there, back = distance_transform_edt(~other)[one], distance_transform_edt(~one)[other]
    apart = np.concatenate([there, back])
    return Outlines(
        float(max(np.percentile(there, 95), np.percentile(back, 95))),
        float(apart.mean()),
        *(float((apart <= most).mean()) for most in _TOLERANCES),
    )
