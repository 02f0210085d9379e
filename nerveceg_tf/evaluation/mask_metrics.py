"""Overlap of the predicted and the true mask, and the distance between their outlines."""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt

_TOLERANCES = (2, 5)
"""Tolerances of surface Dice, in pixels."""


def dice_score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The Dice coefficient of two masks.

    Args:
        truth: `(height, width)`, the true mask; not 0 is nerve.
        predicted: `(height, width)`, the predicted mask; not 0 is nerve.

    Returns:
        The Dice, 0..1; 1 if both masks are empty.

    Example:
        >>> dice_score(np.array([[1, 1, 0]]), np.array([[1, 0, 0]]))
        0.6666666666666666
    """
    truth, predicted = truth != 0, predicted != 0
    total = truth.sum() + predicted.sum()
    return float(2 * (truth & predicted).sum() / total) if total else 1.0


class Outlines(NamedTuple):
    """How well the outlines of two masks agree. The numbers are equal to those of MONAI 1.6.

    A pixel of a mask belongs to its outline if a direct neighbour (left, right, above or below) is
    not in the mask, or is outside the frame.

    Attributes:
        hausdorff_95: float, pixels. The 95th percentile of the distances from each pixel of one
            outline to the other outline is computed in both directions, and the larger one is
            taken, as in DeepMind's surface-distance and Metrics Reloaded. NaN if a mask is empty.
        surface_distance: float, pixels. The mean of all these distances (average symmetric surface
            distance). NaN if a mask is empty.
        surface_dice_2: float, 0..1. The share of the pixels of both outlines that are within 2
            pixels of the other outline (normalised surface Dice). 0 if one mask is empty, NaN if
            both are.
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


class OutlinesInMillimetres(NamedTuple):
    """The distances of `Outlines` in the patient instead of the frame.

    Attributes:
        hausdorff_95_mm: float, millimetres; NaN if a mask is empty or the spacing is unknown.
        surface_distance_mm: float, millimetres; NaN likewise.
    """

    hausdorff_95_mm: float
    surface_distance_mm: float


def outline_distances(truth: np.ndarray, predicted: np.ndarray) -> Outlines:
    """Compares the outlines of two masks.

    Args:
        truth: `(height, width)`, the true mask; not 0 is nerve.
        predicted: `(height, width)`, the predicted mask; not 0 is nerve.

    Returns:
        Distances and surface Dice.
    """
    if not truth.any() or not predicted.any():
        surface_dice = 0.0 if truth.any() or predicted.any() else np.nan
        return Outlines(np.nan, np.nan, surface_dice, surface_dice)
    hausdorff_95, distances = _distances(truth != 0, predicted != 0)
    return Outlines(
        hausdorff_95,
        float(distances.mean()),
        *(float((distances <= tolerance).mean()) for tolerance in _TOLERANCES),
    )


def outline_distances_mm(
    truth: np.ndarray, predicted: np.ndarray, spacing: tuple[float, float] | None
) -> OutlinesInMillimetres:
    """Measures the distances between the outlines of two masks in millimetres.

    Args:
        truth: `(height, width)`, the true mask; not 0 is nerve.
        predicted: `(height, width)`, the predicted mask; not 0 is nerve.
        spacing: millimetres per pixel, down and right, which may differ; `None` if unknown.

    Returns:
        The distances.

    Example:
        >>> truth, predicted = np.zeros((2, 20, 20))
        >>> truth[5], predicted[8] = 1, 1
        >>> outline_distances_mm(truth, predicted, (0.5, 0.1)).surface_distance_mm
        1.5
    """
    if spacing is None or not truth.any() or not predicted.any():
        return OutlinesInMillimetres(np.nan, np.nan)
    hausdorff_95, distances = _distances(truth != 0, predicted != 0, spacing)
    return OutlinesInMillimetres(hausdorff_95, float(distances.mean()))


def _distances(
    truth: np.ndarray, predicted: np.ndarray, spacing: tuple[float, float] = (1, 1)
) -> tuple[float, np.ndarray]:
    """Returns Hausdorff-95, and the distances of all pixels of both outlines to the other one."""
    rows, columns = np.nonzero(truth | predicted)
    window = (
        slice(max(rows.min() - 1, 0), rows.max() + 2),
        slice(max(columns.min() - 1, 0), columns.max() + 2),
    )
    true_outline, predicted_outline = (
        mask[window] & ~binary_erosion(mask[window]) for mask in (truth, predicted)
    )
    from_true = distance_transform_edt(~predicted_outline, sampling=spacing)[true_outline]
    from_predicted = distance_transform_edt(~true_outline, sampling=spacing)[predicted_outline]
    hausdorff_95 = max(np.percentile(from_true, 95), np.percentile(from_predicted, 95))
    return float(hausdorff_95), np.concatenate([from_true, from_predicted])
