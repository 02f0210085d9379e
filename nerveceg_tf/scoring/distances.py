"""How much a drawn mask overlaps the true one, and how far its outline lies from it in pixels."""

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt


def dice_of(truth: np.ndarray, drawn: np.ndarray) -> float:
    """Dice of two masks `(height, width)`, not 0 is nerve; 1 for empty against empty."""
    truth, drawn = truth != 0, drawn != 0
    total = truth.sum() + drawn.sum()
    return float(2 * (truth & drawn).sum() / total) if total else 1.0


def outline_distances(truth: np.ndarray, drawn: np.ndarray) -> tuple[float, float] | None:
    """Distances between the outlines of two masks.

    Args:
        truth: `(height, width)`, not 0 is nerve.
        drawn: the same.

    Returns:
        The 95th percentile of the distances from each outline's pixels to the other (Hausdorff-95),
        and their mean (average surface distance), in pixels; `None` where a mask is empty.
    """
    truth, drawn = truth != 0, drawn != 0
    if not truth.any() or not drawn.any():
        return None
    rows, columns = np.nonzero(truth | drawn)
    window = (
        slice(max(rows.min() - 1, 0), rows.max() + 2),
        slice(max(columns.min() - 1, 0), columns.max() + 2),
    )
    outlines = [mask[window] & ~binary_erosion(mask[window]) for mask in (truth, drawn)]
    apart = np.concatenate(
        [
            distance_transform_edt(~outlines[1])[outlines[0]],
            distance_transform_edt(~outlines[0])[outlines[1]],
        ]
    )
    return float(np.percentile(apart, 95)), float(apart.mean())
